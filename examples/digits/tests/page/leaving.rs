//! Pages that are left before the browser has stored the user's changes.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::checkpoints::{folder, terminal};
use crate::{PATIENCE, Page, Site};

/// IndexedDB accepts `window.writes` more writes of this page; the next one stays pending until the page is left. A
/// page that is opened while `sessionStorage.writes` is set starts with that number. `window.asked` has learning rate
/// and epochs of each write.
const HANGING: &str = "window.writes = Number(sessionStorage.writes ?? Infinity);
    window.asked = [];
    const hang = store => { store.get('last').onsuccess = () => hang(store); };
    for (const name of ['put', 'delete']) {
        const write = IDBObjectStore.prototype[name];
        IDBObjectStore.prototype[name] = function (...all) {
            if (name === 'put') window.asked.push([all[0].options.lr, all[0].options.epochs]);
            if (window.writes-- > 0) return write.apply(this, all);
            hang(this);
            return {};
        };
    }
    const { commit } = IDBTransaction.prototype;
    IDBTransaction.prototype.commit = function () { if (window.writes >= 0) commit.call(this); };";

/// The stored record; null if there is none.
const RECORD: &str = "new Promise((resolve, reject) => {
    const asked = indexedDB.open('wgpu-adam digits');
    asked.onerror = () => reject(asked.error);
    asked.onsuccess = () => {
        const got = asked.result.transaction('runs').objectStore('runs').get('last');
        got.onsuccess = () => { asked.result.close(); resolve(got.result ?? null); };
    };
})";

impl Page {
    fn run(&self, script: &str) -> Result<()> {
        self.tab.eval::<Value>(&format!("void ({script})")).map(drop)
    }

    /// Waits until the browser has stored a run that satisfies this condition.
    fn stored(&self, condition: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let truth = format!("{RECORD}.then(record => Boolean(record && {condition}))");
        while !self.tab.eval::<bool>(&truth)? {
            ensure!(Instant::now() < deadline, "no stored run has {condition}");
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Checks that all writes so far had this learning rate and number of epochs.
    fn asked_for(&self, options: (f64, f64)) -> Result<()> {
        let asked: Vec<(f64, f64)> = self.tab.eval("window.asked")?;
        ensure!(!asked.is_empty() && asked.iter().all(|&each| each == options), "the browser was to store {asked:?}");
        Ok(())
    }

    /// The values of the fields.
    fn options(&self) -> Result<Vec<String>> {
        self.tab.eval(
            "['lr', 'beta1', 'beta2', 'eps', 'weight-decay', 'epochs'].map(id => document.getElementById(id).value)
                .concat(String(document.getElementById('amsgrad').checked))",
        )
    }

    fn pace(&self) -> Result<String> {
        self.tab.eval("document.querySelector('[name=pace]:checked').value")
    }
}

/// A run of two epochs, which is stored, in a page whose next write hangs.
fn trained(site: &Site) -> Result<Page> {
    let page = site.forgetful_with("?epochs=2&pace=full", HANGING)?;
    page.click("start")?;
    page.state("done")?;
    // The end of the epoch and the end of the run may be two writes.
    page.stored("record.options.epochs === 2")?;
    page.tab.navigate(&site.address(""))?;
    page.state("done")?;
    page.stored("record.options.epochs === 2")?;
    page.run("window.writes = 0")?;
    Ok(page)
}

const EDITS: [(&str, &str); 6] =
    [("lr", "0.02"), ("beta1", "0.8"), ("beta2", "0.99"), ("eps", "1e-7"), ("weight-decay", "0.001"), ("epochs", "7")];
const EDITED: [&str; 7] = ["0.02", "0.8", "0.99", "1e-7", "0.001", "7", "true"];

pub fn edits(site: &Site) -> Result<()> {
    let page = trained(site)?;
    // The write of the first edit hangs; the write of the other edits waits for it.
    for (field, text) in EDITS {
        page.tab.fill(&format!("#{field}"), text)?;
    }
    page.click("amsgrad")?;
    page.run("document.querySelector('[value=full]').click()")?;
    page.tab.reload()?;
    page.message("Resumed at epoch 2, step 46")?;
    ensure!(page.options()? == EDITED, "the fields have {:?}", page.options()?);
    ensure!(page.pace()? == "full", "the pace is {}", page.pace()?);
    // The edits also reached the optimizer: the stored state has its options.
    page.click("step")?;
    page.until("document.body.dataset.step === '47'")?;
    page.shows("distance", "!== '–'")?;
    page.tab.reload()?;
    page.message("Resumed at epoch 2, step 47")?;
    ensure!(page.options()? == EDITED, "after a step the fields have {:?}", page.options()?);

    // A field that still has the focus.
    page.click("lr")?;
    page.run("document.activeElement.select()")?;
    for key in ["0", ".", "0", "5"] {
        page.tab.press(key, false)?;
    }
    page.tab.reload()?;
    page.message("Resumed at epoch 2, step 47")?;
    ensure!(page.options()?[0] == "0.05", "the learning rate is {}", page.options()?[0]);
    page.check()
}

pub fn first_edits(site: &Site) -> Result<()> {
    let page = site.forgetful_with("", HANGING)?;
    for (field, text) in EDITS {
        page.tab.fill(&format!("#{field}"), text)?;
    }
    page.click("amsgrad")?;
    page.tab.reload()?;
    page.state("ready")?;
    ensure!(page.options()? == EDITED, "the fields have {:?}", page.options()?);
    // The address has priority.
    page.tab.navigate(&site.address("?epochs=1&pace=full"))?;
    page.state("ready")?;
    ensure!(page.options()?[5] == "1" && page.options()?[0] == "0.02", "the fields have {:?}", page.options()?);
    page.click("start")?;
    page.state("done")?;
    page.shows("distance", "=== '–'").context("compared with a torch run of another learning rate")?;
    // A new run has none of it.
    page.tab.navigate(&site.address("?resume=0"))?;
    page.state("ready")?;
    let torchs = ["0.003", "0.9", "0.999", "1e-8", "0", "40", "false"];
    ensure!(page.options()? == torchs, "the fields have {:?}", page.options()?);
    page.tab.navigate(&site.address(""))?;
    page.state("ready")?;
    ensure!(page.options()? == torchs, "the fields have {:?}", page.options()?);
    page.check()
}

pub fn whole_run(site: &Site) -> Result<()> {
    // Either the first write hangs, or the second, after which only the end of the first epoch was stored.
    for writes in [0, 1] {
        let page = site.forgetful_with("?epochs=4&pace=full", HANGING)?;
        page.run(&format!("window.writes = {writes}"))?;
        page.click("start")?;
        page.state("done")?;
        page.tab.navigate(&site.address(""))?;
        page.state("done").with_context(|| format!("after {writes} writes"))?;
        page.check_losses(92)?;
        page.stored("record.options.epochs === 4")?;
        // The run is now in IndexedDB only.
        page.until("!localStorage.getItem('wgpu-adam digits, last run')")?;
        page.tab.reload()?;
        page.state("done")?;
        page.check_losses(92)?;
        page.check()?;
    }
    Ok(())
}

pub fn resuming(site: &Site) -> Result<()> {
    let page = trained(site)?;
    // The page stores the resumed run. If only the first write succeeds, it must be a complete one.
    page.run("sessionStorage.writes = 1")?;
    for _ in 0..3 {
        page.tab.reload()?;
        page.state("done")?;
        page.until("window.writes < 1")?;
        page.asked_for((0.003, 2.0))?;
        ensure!(page.options()?[5] == "2" && page.losses()?.len() == 46, "the fields have {:?}", page.options()?);
    }
    page.check()
}

pub fn opening(site: &Site) -> Result<()> {
    let fast = folder("left")?.join("fast.safetensors");
    terminal(&fast, &["--epochs", "1", "--lr", "0.01"])?;
    for writes in [0, 1] {
        let page = trained(site)?;
        page.run(&format!("(window.writes = {writes}, window.asked = [])"))?;
        page.tab.choose_file("#file", &fast)?;
        page.message("fast.safetensors opened: epoch 1, step 23")?;
        page.until(&format!("window.writes < {writes}"))?;
        page.asked_for((0.01, 2.0))?;
        page.tab.reload()?;
        page.message("Resumed at epoch 1, step 23").with_context(|| format!("after {writes} writes"))?;
        ensure!(page.options()?[0] == "0.01", "after {writes} writes the learning rate is {}", page.options()?[0]);
        page.shows("distance", "=== '–'").context("compared with a torch run of another learning rate")?;
        page.check()?;
    }
    Ok(())
}

pub fn reset(site: &Site) -> Result<()> {
    for in_training in [false, true] {
        let page = trained(site)?;
        if in_training {
            // The last steps never finish, so the page is left before the new run exists.
            page.tab.fill("#epochs", "400")?;
            page.when_past(60, "window.held = true")?;
            page.click("start")?;
            page.past_step(60)?;
        }
        page.click("reset")?;
        if !in_training {
            page.state("ready")?;
        }
        page.tab.reload()?;
        page.state("ready").with_context(|| format!("in training: {in_training}"))?;
        ensure!(page.number("step")? == 0.0 && page.text("message-text")?.is_empty(), "the run came back");
        page.check()?;
    }
    Ok(())
}

pub fn late_answer(site: &Site) -> Result<()> {
    // Long after the page is ready, or never.
    let late = "const { open } = IDBFactory.prototype;
        const late = Number(sessionStorage.late ?? 0);
        if (late) IDBFactory.prototype.open = function (...all) {
            const asked = new EventTarget();
            const real = open.apply(this, all);
            real.onsuccess = () => setTimeout(() => {
                asked.result = real.result;
                asked.onsuccess();
            }, late);
            return asked;
        };";
    let page = site.forgetful_with("?epochs=1&pace=full", late)?;
    page.click("start")?;
    page.state("done")?;
    page.stored("record.options.epochs === 1")?;
    page.run("sessionStorage.late = 4000")?;
    page.tab.reload()?;
    page.message("Resumed at epoch 1, step 23")?;
    page.run("sessionStorage.late = 1e9")?;
    page.tab.reload()?;
    page.message("cannot save the run: its storage does not respond")?;
    page.state("ready")?;
    page.tab.fill("#lr", "0.02")?;
    page.run("delete sessionStorage.late")?;
    // A run that could not be read was not deleted either.
    page.tab.reload()?;
    page.message("Resumed at epoch 1, step 23")?;
    ensure!(page.options()?[0] == "0.02", "the learning rate is {}", page.options()?[0]);
    page.check()
}

pub fn indexed_db_alone(site: &Site) -> Result<()> {
    let denied = "Object.defineProperty(window, 'localStorage', {
        get() { throw new DOMException('The operation is insecure.', 'SecurityError'); } });";
    let page = site.forgetful_with("?epochs=1&pace=full", denied)?;
    page.tab.fill("#lr", "0.02")?;
    page.click("start")?;
    page.state("done")?;
    page.stored("record.options.epochs === 1")?;
    page.tab.navigate(&site.address(""))?;
    page.message("Resumed at epoch 1, step 23")?;
    page.state("done")?;
    ensure!(page.options()?[0] == "0.02", "the learning rate is {}", page.options()?[0]);
    page.check()
}
