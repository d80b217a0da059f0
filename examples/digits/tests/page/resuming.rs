//! The run that the browser stores for a reload.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::{KEEP_DEVICE, PATIENCE, PAUSE, Page, Site, shoot};

/// An address that resumes by itself, for a short run.
const RESUMING: &str = "?epochs=6&pace=full";
/// The number of stored runs. The page has created its database before.
const STORED: &str = "new Promise((resolve, reject) => {
    const asked = indexedDB.open('wgpu-adam digits');
    asked.onerror = () => reject(asked.error);
    asked.onsuccess = () => {
        const count = asked.result.transaction('runs').objectStore('runs').count();
        count.onsuccess = () => { asked.result.close(); resolve(count.result); };
    };
})";

impl Site {
    /// Opens the page at an address that resumes, in a browser without a stored run.
    fn forgetful(&self, query: &str) -> Result<Page> {
        self.forgetful_with(query, "")
    }

    /// The same with a script, as [`Browser::open_with`](wgpu_adam_browser::Browser::open_with) takes it.
    pub fn forgetful_with(&self, query: &str, script: &str) -> Result<Page> {
        let page = self.open("?resume=0", &format!("{KEEP_DEVICE}{script}"))?;
        page.state("ready")?;
        nothing_stored(&page)?;
        page.tab.navigate(&self.address(query))?;
        page.state("ready")?;
        Ok(page)
    }
}

/// Waits until the browser has deleted the run.
fn nothing_stored(page: &Page) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while page.tab.eval::<u32>(STORED)? > 0 {
        ensure!(Instant::now() < deadline, "a run is still stored");
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The losses of an uninterrupted run.
fn unbroken(site: &Site) -> Result<Vec<f64>> {
    let page = site.ready(RESUMING)?;
    page.click("start")?;
    page.state("done")?;
    page.check_losses(138)?;
    page.losses()
}

pub fn reload(site: &Site) -> Result<()> {
    let whole = unbroken(site)?;
    let page = site.forgetful(RESUMING)?;
    page.when_past(30, PAUSE)?;
    page.click("start")?;
    page.state("paused")?;
    let (losses, accuracy) = (page.losses()?, page.number("accuracy")?);
    page.check()?;
    page.tab.reload()?;
    page.message(&format!("Resumed at epoch {}, step {}", losses.len() / 23, losses.len()))?;
    page.state("paused")?;
    ensure!(page.losses()? == losses && losses == whole[..losses.len()], "the losses have changed");
    ensure!(page.number("accuracy")? == accuracy, "the accuracy was {accuracy}, and is {}", page.number("accuracy")?);
    ensure!(page.notice()?.is_none(), "{:?}", page.notice()?);
    page.check()?;
    shoot(&page, "resumed")?;

    page.click("start")?;
    page.state("done")?;
    ensure!(page.losses()? == whole, "the resumed run's losses differ from the uninterrupted run's");
    page.check()?;

    // Options changed while paused are stored too, together with the number of epochs.
    page.tab.navigate(&site.address("?pace=full"))?;
    page.state("done")?;
    page.tab.fill("#lr", "0.02")?;
    page.tab.fill("#epochs", "7")?;
    page.tab.reload()?;
    page.message("Resumed at epoch 6, step 138")?;
    let shown: Vec<String> = page.tab.eval("['lr', 'epochs'].map(id => document.getElementById(id).value)")?;
    ensure!(shown == ["0.02", "7"], "the fields have {shown:?}");
    page.click("start")?;
    page.state("done")?;
    ensure!(page.losses()?.len() == 161, "{} losses", page.losses()?.len());

    page.tab.reload()?;
    page.message("Resumed at epoch 7")?;
    page.click("message-action")?;
    page.until("document.body.dataset.state === 'ready' && document.body.dataset.step === '0'")?;
    nothing_stored(&page)?;
    page.tab.reload()?;
    page.state("ready")?;
    ensure!(page.number("step")? == 0.0 && page.text("message-text")?.is_empty(), "the run came back");
    page.click("step")?;
    page.until("document.body.dataset.step === '1'")?;
    ensure!(page.losses()? == whole[..1], "starting over left something");
    page.check()
}

pub fn reload_in_training(site: &Site) -> Result<()> {
    let whole = unbroken(site)?;
    for pace in ["full", "watch"] {
        let page = site.forgetful(&format!("?epochs=6&pace={pace}"))?;
        page.when_past(60, "window.held = true")?;
        page.click("start")?;
        page.past_step(60)?;
        page.tab.reload()?;
        page.message("Resumed at epoch")?;
        page.state("paused")?;
        let steps = page.losses()?.len();
        ensure!(steps >= 23 && steps.is_multiple_of(23), "{pace}: resumed at step {steps}");
        eprintln!("{pace}: reloaded past step 60, resumed at {steps}");
        page.tab.eval::<serde_json::Value>("void document.querySelector('[value=full]').click()")?;
        page.click("start")?;
        page.state("done")?;
        ensure!(page.losses()? == whole, "{pace}: the resumed run's losses differ from the uninterrupted run's");
        page.check()?;
    }
    Ok(())
}

pub fn addresses(site: &Site) -> Result<()> {
    let page = site.forgetful("?epochs=1&pace=full")?;
    page.click("start")?;
    page.state("done")?;
    page.check()?;
    // With a stored run of 23 steps: address, state, steps.
    for (query, state, steps) in [
        ("?resume=1", "done", 23.0),
        ("", "done", 23.0),
        ("?epochs=2", "paused", 23.0),
        ("?autostart=1&epochs=3&resume=1", "done", 69.0),
        ("?epochs=9", "paused", 69.0),
        ("?autostart=1&epochs=2", "done", 46.0),
        ("", "done", 46.0),
        ("?resume=0", "ready", 0.0),
        ("", "ready", 0.0),
    ] {
        page.tab.navigate(&site.address(query))?;
        page.state(state)?;
        ensure!(page.number("step")? == steps, "{query:?}: step {}", page.number("step")?);
        page.check()?;
    }
    Ok(())
}

pub fn unreadable(site: &Site) -> Result<()> {
    let put = |record: &str| {
        format!(
            "new Promise((resolve, reject) => {{
                const asked = indexedDB.open('wgpu-adam digits');
                asked.onsuccess = () => {{
                    const transaction = asked.result.transaction('runs', 'readwrite');
                    transaction.objectStore('runs').put({record}, 'last');
                    transaction.oncomplete = () => {{ asked.result.close(); resolve(1); }};
                    transaction.onabort = () => reject(transaction.error);
                }};
            }})"
        )
    };
    for (record, said) in [
        ("{ version: 2, checkpoint: new Uint8Array(9) }", "version 2, and this page reads version 1"),
        ("{ version: 1, checkpoint: new Uint8Array(9) }", "no checkpoint"),
        ("{ version: 1 }", "no checkpoint"),
        ("'a run'", "version undefined"),
    ] {
        let page = site.forgetful("?epochs=1")?;
        page.tab.eval::<u32>(&put(record))?;
        page.tab.reload()?;
        page.state("ready")?;
        let message = page.message("The saved run could not be restored")?;
        ensure!(message.contains(said), "{record}: {message}");
        nothing_stored(&page)?;
        page.click("step")?;
        page.state("paused")?;
        page.check()?;
        page.tab.reload()?;
        page.message("Resumed at epoch 0, step 1")?;
        page.check()?;
    }
    Ok(())
}

pub fn no_storage(site: &Site) -> Result<()> {
    let denied = "Object.defineProperty(window, 'indexedDB', {
        get() { throw new DOMException('The operation is insecure.', 'SecurityError'); } });";
    let failing = "IDBFactory.prototype.open = function () {
        const asked = new EventTarget();
        Object.defineProperty(asked, 'error', { value: new DOMException('Internal error.', 'UnknownError') });
        setTimeout(() => asked.onerror(new Event('error')));
        return asked;
    };";
    let full =
        "IDBObjectStore.prototype.put = () => { throw new DOMException('The disk is full.', 'QuotaExceededError'); };";
    let silent = "IDBFactory.prototype.open = () => new EventTarget();";
    for (name, script, said) in [
        ("denied", denied, "The operation is insecure."),
        ("missing", "Object.defineProperty(window, 'indexedDB', { value: undefined });", "no IndexedDB"),
        ("failing", failing, "Internal error."),
        ("full", full, "there is not enough space"),
        ("silent", silent, "its storage does not respond"),
    ] {
        let ready = name != "full";
        if !ready {
            // A resumed run would be stored, and refused, before the click that closes the message.
            nothing_stored(&site.ready("?resume=0")?)?;
        }
        let page = site.open("?epochs=2&pace=full&resume=1", &format!("{KEEP_DEVICE}{script}"))?;
        page.state("ready")?;
        if ready {
            page.message("cannot save the run").context(name)?;
        }
        page.click("start")?;
        page.state("done")?;
        page.check_losses(46)?;
        if ready {
            // Reported once; a click has closed the message.
            ensure!(page.text("message-text")?.is_empty(), "{name}: shown again: {}", page.text("message-text")?);
            page.tab.reload()?;
            page.state("ready")?;
        }
        let message = page.message("cannot save the run").context(name)?;
        ensure!(message.contains(said), "{name}: {message}");
        ensure!(page.notice()?.is_none(), "{name}: {:?}", page.notice()?);
        page.check()?;
    }
    // A disk that is really full: it has room for the page but not for a run.
    let page = site.forgetful("?epochs=2&pace=full")?;
    page.tab.set_quota(&site.server.url("/"), 1)?;
    page.click("start")?;
    page.state("done")?;
    let message = page.message("cannot save the run").context("a quota of one byte")?;
    ensure!(message.contains("there is not enough space"), "{message}");
    page.check_losses(46)?;
    page.check()
}
