//! Runs every test body of the suite in a page of a real browser, if `cargo xtask test` has built the page.

use std::cell::OnceCell;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use wgpu_adam_browser::{Browser, Look, NO_PAGES, Server, Tab, pages};
use wgpu_adam_suite::bodies;

/// The time limit of one body on a software adapter.
const BODY: Duration = Duration::from_secs(120);

/// The page of the suite, open in a browser.
struct Page {
    tab: Tab,
    // Fields that must live as long as the tab.
    browser: Browser,
    _server: Server,
}

thread_local! {
    /// Tests run on one thread, in one tab.
    static PAGE: OnceCell<Page> = const { OnceCell::new() };
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials()).exit_code()
}

fn trials() -> Vec<Trial> {
    if pages("").is_none() {
        return vec![Trial::ignorable_test("bodies in a browser", || Ok(Completion::ignored_with(NO_PAGES)))];
    }
    match open() {
        Err(error) => vec![Trial::test("a browser with WebGPU", move || Err(format!("{error:#}").into()))],
        Ok((adapter, page)) => {
            eprintln!("testing '{adapter}' of {}", page.browser.name());
            PAGE.with(|shared| drop(shared.set(page)));
            let trial = |&(body, _): &(&'static str, _)| {
                Trial::ignorable_test(format!("{adapter}/{body}"), move || {
                    run(body).map_err(|error| Failed::from(format!("{error:#}")))
                })
            };
            bodies().iter().map(trial).collect()
        }
    }
}

fn open() -> Result<(String, Page)> {
    let folder = pages("web-suite").context("the folder of the pages")?;
    let server = Server::start(&[("/", &folder)])?;
    let browser = Browser::start()?;
    let tab = browser.open(&server.url("/"), Look::WIDE)?;
    tab.wait_for("window.suite", BODY)?;
    tab.set_timeout(BODY);
    let adapter = tab.adapter()?.with_context(|| format!("{} gives no WebGPU adapter", browser.name()))?;
    tab.check_clean()?;
    Ok((adapter, Page { tab, browser, _server: server }))
}

fn run(body: &str) -> Result<Completion> {
    PAGE.with(|page| {
        let tab = &page.get().context("no page is open on this thread")?.tab;
        let answer: Result<(String, String)> = tab.eval(&format!("suite.run({})", serde_json::to_string(body)?));
        // The console's messages explain a failure better than its consequences do.
        let clean = tab.check_clean();
        tab.forget_messages();
        if answer.is_err() || clean.is_err() {
            // After a panic, or in the middle of a body, the program cannot be used again.
            tab.reload()?;
            tab.wait_for("window.suite", BODY)?;
        }
        clean?;
        match answer? {
            (outcome, _) if outcome == "passed" => Ok(Completion::Completed),
            (outcome, reason) if outcome == "skipped" => Ok(Completion::ignored_with(reason)),
            (_, reason) => bail!("{reason}"),
        }
    })
}
