//! The pages in a real browser, driven as a person does, if `cargo xtask test` has built them.

#[path = "page/checkpoints.rs"]
mod checkpoints;
#[path = "page/drawing.rs"]
mod drawing;
#[path = "page/first_look.rs"]
mod first_look;
#[path = "page/javascript.rs"]
mod javascript;
#[path = "page/leaving.rs"]
mod leaving;
#[path = "page/mishaps.rs"]
mod mishaps;
#[path = "page/options.rs"]
mod options;
#[path = "page/resuming.rs"]
mod resuming;
#[path = "page/training.rs"]
mod training;

use std::cell::RefCell;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use digits::TorchRun;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use wgpu_adam_browser::{Browser, Look, NO_PAGES, Server, Tab, pages};

/// Together with a comparison of every epoch's accuracy with torch's, this allows another order of additions.
const LOSS_BOUND: f64 = 1e-4;
/// Time limit of a software adapter for anything that a test waits for.
const PATIENCE: Duration = Duration::from_secs(120);
/// Stores the page's device where a test can destroy it. While `window.held` is true nothing comes back from the GPU,
/// so the page makes no progress.
const KEEP_DEVICE: &str = "const request = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (...all) {
        return window.gpuDevice = await request.apply(this, all);
    };
    const map = GPUBuffer.prototype.mapAsync;
    GPUBuffer.prototype.mapAsync = async function (...all) {
        while (window.held) await new Promise(done => setTimeout(done, 10));
        return map.apply(this, all);
    };";
/// Pauses, as a click on the button does.
const PAUSE: &str = "document.getElementById('pause').click()";

/// A browser and the served pages, shared by all tests, which run on one thread.
struct Site {
    browser: Browser,
    server: Server,
}

thread_local! {
    static SITE: RefCell<Option<Rc<Site>>> = const { RefCell::new(None) };
}

type Body = fn(&Site) -> Result<()>;

const BODIES: [(&str, Body); 35] = [
    ("a test digit is classified before anybody draws", first_look::test_digit),
    ("on a phone the pad comes before the weights", first_look::order),
    ("the chart names its axes", first_look::axes),
    ("links without an address are hidden", first_look::links),
    ("forty epochs follow torch", training::forty_epochs_follow_torch),
    ("start, pause, step and reset", training::buttons),
    ("by keyboard alone", training::keyboard),
    ("behind another tab", training::behind_another_tab),
    ("drawn digits are recognised", drawing::mouse),
    ("a finger draws too", drawing::finger),
    ("a digit for those who cannot draw", drawing::sample),
    ("the learning rate takes effect at once", options::learning_rate),
    ("options that cannot be", options::refused),
    ("a learning rate of 1e9", options::diverging),
    ("a device lost at rest and in training", mishaps::lost_device),
    ("a device whose loss is reported late", mishaps::reported_late),
    ("no WebGPU and no adapter", mishaps::no_gpu),
    ("a checkpoint of the terminal goes on here", checkpoints::from_the_terminal),
    ("a download goes on in the terminal", checkpoints::to_the_terminal),
    ("files that are no checkpoint of a run", checkpoints::bad_files),
    ("a reload goes on with the same bits", resuming::reload),
    ("a reload in training", resuming::reload_in_training),
    ("who resumes and who does not", resuming::addresses),
    ("stored runs that cannot be read", resuming::unreadable),
    ("storage that is denied, full or silent", resuming::no_storage),
    ("edits behind a write that hangs", leaving::edits),
    ("edits before the first step", leaving::first_edits),
    ("a run behind a write that hangs", leaving::whole_run),
    ("left while it resumes", leaving::resuming),
    ("left when a file was opened", leaving::opening),
    ("left when it was reset", leaving::reset),
    ("storage that answers late", leaving::late_answer),
    ("IndexedDB alone", leaving::indexed_db_alone),
    ("what is downloaded is small", training::download),
    ("plain JavaScript takes a step", javascript::step),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let Some(folder) = pages("web") else {
        let ignored = Trial::ignorable_test("pages", || Ok(Completion::ignored_with(NO_PAGES)));
        return libtest_mimic::run(&arguments, vec![ignored]).exit_code();
    };
    let trials = BODIES.iter().map(|&(name, body)| {
        let folder = folder.clone();
        Trial::test(name, move || {
            let outcome = site(&folder).and_then(|site| body(&site));
            outcome.map_err(|error| Failed::from(format!("{error:#}")))
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    // Before the thread ends, after which nothing could stop the browser.
    SITE.take();
    conclusion.exit_code()
}

/// The browser, started by the first test that needs it.
fn site(folder: &Path) -> Result<Rc<Site>> {
    if let Some(site) = SITE.with_borrow(Clone::clone) {
        return Ok(site);
    }
    let site = Rc::new(Site { browser: Browser::start()?, server: Server::start(&[("/", folder)])? });
    SITE.set(Some(site.clone()));
    Ok(site)
}

impl Site {
    /// Opens the page of the digits and waits until it can train.
    fn ready(&self, query: &str) -> Result<Page> {
        let page = self.open(query, KEEP_DEVICE)?;
        page.state("ready")?;
        Ok(page)
    }

    fn open(&self, query: &str, script: &str) -> Result<Page> {
        self.open_as(query, script, Look::WIDE)
    }

    /// Deletes the run that another test left in the browser, unless the query asks for it.
    fn open_as(&self, query: &str, script: &str, look: Look) -> Result<Page> {
        let query = if query.contains("resume=") { query.to_owned() } else { format!("{query}&resume=0") };
        Ok(Page { tab: self.browser.open_with(&self.address(&query), look, script)? })
    }

    fn address(&self, query: &str) -> String {
        self.server.url(&format!("/{query}"))
    }
}

/// Screenshots of a page at a moment, for people: wide and narrow, light and dark.
fn shoot(page: &Page, moment: &str) -> Result<()> {
    let shots = pages("web-shots").context("the target folder")?;
    for (name, look) in [
        ("light", Look::WIDE),
        ("dark", Look::WIDE.dark()),
        ("phone", Look::NARROW),
        ("phone-dark", Look::NARROW.dark()),
    ] {
        page.tab.set_look(look)?;
        // Two frames: one for layout, one for drawing.
        let drawn = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))";
        page.tab.eval::<u32>(drawn)?;
        page.tab.screenshot(shots.join(format!("{moment}-{name}.png")))?;
    }
    page.tab.set_look(Look::WIDE)
}

/// The page of the digits in a tab.
struct Page {
    tab: Tab,
}

impl Page {
    fn state(&self, state: &str) -> Result<()> {
        self.until(&format!("document.body.dataset.state === '{state}'"))
    }

    fn until(&self, condition: &str) -> Result<()> {
        self.tab.wait_for(condition, PATIENCE)
    }

    fn past_step(&self, step: u64) -> Result<()> {
        self.until(&format!("document.body.dataset.step > {step}"))
    }

    /// Makes the page itself run something when it has passed a step. A test that only polls might be too late, after
    /// the end of the run.
    fn when_past(&self, step: u64, action: &str) -> Result<()> {
        self.tab.eval::<serde_json::Value>(&format!(
            "void new MutationObserver((_, observer) => {{
                if (!(document.body.dataset.step > {step})) return;
                observer.disconnect();
                {action};
            }}).observe(document.body, {{ attributeFilter: ['data-step'] }})"
        ))?;
        Ok(())
    }

    /// Waits for a drawing, which comes with the next frame.
    fn shows(&self, id: &str, condition: &str) -> Result<()> {
        self.until(&format!("document.getElementById('{id}').textContent {condition}"))
    }

    fn text(&self, id: &str) -> Result<String> {
        self.tab.eval(&format!("document.getElementById('{id}').textContent"))
    }

    /// A number in the body's data set.
    fn number(&self, name: &str) -> Result<f64> {
        let text: String = self.tab.eval(&format!("document.body.dataset.{name} ?? ''"))?;
        text.parse().with_context(|| format!("{name} is {text:?}"))
    }

    fn losses(&self) -> Result<Vec<f64>> {
        // JSON has no infinities.
        let losses: Vec<String> = self.tab.eval("window.losses.map(String)")?;
        Ok(losses.iter().map(|loss| loss.replace("Infinity", "inf").parse()).collect::<Result<_, _>>()?)
    }

    /// Checks the number of losses, and compares them with torch's.
    fn check_losses(&self, count: usize) -> Result<()> {
        let torch = TorchRun::recorded()?.loss_per_step;
        let losses = self.losses()?;
        ensure!(losses.len() == count, "{} losses", losses.len());
        for (step, (ours, torch)) in losses.iter().zip(&torch).enumerate() {
            ensure!((ours - f64::from(*torch)).abs() < LOSS_BOUND, "step {step}: loss {ours}, not {torch}");
        }
        Ok(())
    }

    fn click(&self, id: &str) -> Result<()> {
        self.tab.click(&format!("#{id}"))
    }

    /// Waits until the page's message contains this text, and returns the message.
    fn message(&self, text: &str) -> Result<String> {
        let seen = format!("document.getElementById('message-text').textContent.includes({text:?})");
        self.until(&seen).with_context(|| format!("the message is {:?}", self.text("message-text")))?;
        self.text("message-text")
    }

    /// Checks that the page's values are consistent and that no error occurred.
    fn check(&self) -> Result<()> {
        self.tab.check_clean()?;
        let (steps, losses) = (self.number("step")?, self.losses()?);
        ensure!(steps == losses.len() as f64, "step {steps}, but {} losses", losses.len());
        if let Some(last) = losses.last() {
            ensure!(self.number("loss")? == *last, "the last loss is {last}");
        }
        Ok(())
    }

    /// Waits for a notice with this title.
    fn noticed(&self, title: &str) -> Result<()> {
        let seen = format!("document.getElementById('notice-title').textContent === {title:?}");
        self.until(&format!("!document.getElementById('notice').hidden && {seen}"))
    }

    fn notice(&self) -> Result<Option<String>> {
        let hidden = "document.getElementById('notice').hidden ? null : document.getElementById('notice').innerText";
        self.tab.eval(hidden)
    }
}
