//! Tests the driver on pages of a few lines: input is trusted, pages see their look, and every error is reported.

use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::Value;
use wgpu_adam_browser::{Browser, Kind, Look, NO_PAGES, Server, Tab, pages};

type Test = fn() -> Result<()>;

/// Generous limit for things that take no time, because the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

const TESTS: &[(&str, Test)] = &[
    ("values and exceptions come back", values),
    ("input is trusted", input),
    ("looks are told", looks),
    ("a tab in the background is hidden", background),
    ("a script comes before the page's", script),
    ("everything that goes wrong is told", mistakes),
    ("waiting ends", waiting),
];

fn main() -> ExitCode {
    let trials = TESTS.iter().map(|&(name, test)| {
        Trial::ignorable_test(name, move || {
            if pages("").is_none() {
                return Ok(Completion::ignored_with(NO_PAGES));
            }
            test().map(|()| Completion::Completed).map_err(|error| Failed::from(format!("{error:#}")))
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

/// Opens a page with this body and passes it to the test.
fn with_page(body: &str, look: Look, test: impl FnOnce(&Tab, &Browser, &str) -> Result<()>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let page = format!(
        "<!doctype html><meta name=viewport content='width=device-width'><link rel=icon href=data:,><body>{body}"
    );
    std::fs::write(folder.path().join("index.html"), page)?;
    let server = Server::start(&[("/", folder.path())])?;
    let browser = Browser::start()?;
    let tab = browser.open(&server.url("/"), look)?;
    test(&tab, &browser, &server.url("/"))
}

fn values() -> Result<()> {
    with_page("", Look::WIDE, |tab, _, _| {
        ensure!(tab.eval::<Vec<f64>>("[1, 2.5]")? == [1.0, 2.5]);
        ensure!(tab.eval::<String>("new Promise(done => setTimeout(() => done('late'), 50))")? == "late");
        let thrown = format!("{:#}", tab.eval::<Value>("(() => { throw new Error('on purpose') })()").unwrap_err());
        ensure!(thrown.contains("on purpose"), "{thrown}");
        let rejected = format!("{:#}", tab.eval::<Value>("Promise.reject(new Error('no'))").unwrap_err());
        ensure!(rejected.contains("no"), "{rejected}");
        ensure!(tab.eval::<bool>("1").is_err(), "a number is no truth value");
        // An error that a test provokes and receives does not count as a mistake of the page.
        tab.check_clean()
    })
}

const INPUT: &str = "
    <button id=button>b</button> <input id=field value=old> <div style='height: 3000px'></div>
    <canvas id=canvas width=200 height=100 style='touch-action: none'></canvas>
    <script>
        seen = [];
        const note = event => { if (event.isTrusted) seen.push([event.type, event.pointerType ?? event.key].join(' ')) };
        for (const kind of ['pointerdown', 'pointermove', 'pointerup']) canvas.addEventListener(kind, note);
        button.addEventListener('click', event => seen.push('click ' + event.isTrusted));
        document.addEventListener('keydown', note);
    </script>";

fn input() -> Result<()> {
    with_page(INPUT, Look::WIDE, |tab, _, _| {
        let seen = || tab.eval::<Vec<String>>("seen.splice(0)");
        tab.click("#button")?;
        ensure!(seen()? == ["click true"]);
        let [x, y, width, height] = tab.place_of("#canvas")?;
        ensure!(width == 200.0 && height == 100.0);
        tab.drag(&[(x + 5.0, y + 5.0), (x + 50.0, y + 50.0), (x + 90.0, y + 20.0)])?;
        let moves = seen()?;
        ensure!(
            moves
                == [
                    "pointermove mouse",
                    "pointerdown mouse",
                    "pointermove mouse",
                    "pointermove mouse",
                    "pointerup mouse"
                ],
            "{moves:?}"
        );
        tab.fill("#field", "new text")?;
        ensure!(tab.eval::<String>("field.value")? == "new text");
        ensure!(seen()? == ["keydown Tab"]);
        tab.eval::<Value>("void button.focus()")?;
        tab.press("Enter", false)?;
        tab.press(" ", false)?;
        ensure!(seen()? == ["keydown Enter", "click true", "keydown  ", "click true"]);
        tab.click("#nowhere").unwrap_err();
        tab.set_look(Look::NARROW)?;
        let [x, y, ..] = tab.place_of("#canvas")?;
        tab.swipe(&[(x + 5.0, y + 5.0), (x + 50.0, y + 50.0)])?;
        let swiped = seen()?;
        ensure!(swiped == ["pointerdown touch", "pointermove touch", "pointerup touch"], "{swiped:?}");
        tab.check_clean()
    })
}

fn looks() -> Result<()> {
    with_page("<div style='height: 2000px'></div>", Look::NARROW.dark(), |tab, _, _| {
        const SEEN: &str = "[innerWidth, innerHeight, matchMedia('(prefers-color-scheme: dark)').matches]";
        ensure!(tab.eval::<(u32, u32, bool)>(SEEN)? == (390, 844, true));
        tab.set_look(Look::WIDE)?;
        ensure!(tab.eval::<(u32, u32, bool)>(SEEN)? == (1280, 900, false));
        let file = tempfile::tempdir()?.path().join("shots/page.png");
        tab.screenshot(&file)?;
        let png = std::fs::read(&file)?;
        // Width and height follow the signature and the head of the first chunk.
        let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap_or_default());
        ensure!(
            png.starts_with(b"\x89PNG") && number(16) == 1280 && number(20) >= 2000,
            "{}x{}",
            number(16),
            number(20)
        );
        Ok(())
    })
}

fn background() -> Result<()> {
    with_page("", Look::WIDE, |tab, browser, url| {
        const STATE: &str = "document.visibilityState";
        tab.bring_to_front()?;
        ensure!(tab.eval::<String>(STATE)? == "visible");
        let other = browser.open(url, Look::WIDE)?;
        other.bring_to_front()?;
        tab.wait_for("document.visibilityState === 'hidden'", PATIENCE)?;
        tab.bring_to_front()?;
        tab.wait_for("document.visibilityState === 'visible'", PATIENCE)
    })
}

fn script() -> Result<()> {
    with_page("<script>seen = navigator.gpu</script>", Look::WIDE, |_, browser, url| {
        const HIDE: &str = "Object.defineProperty(navigator, 'gpu', { value: 'hidden' })";
        let tab = browser.open_with(url, Look::WIDE, HIDE)?;
        ensure!(tab.eval::<String>("seen")? == "hidden");
        tab.reload()?;
        ensure!(tab.eval::<String>("seen")? == "hidden");
        Ok(())
    })
}

fn mistakes() -> Result<()> {
    const WEBGPU: &str = "(async () => {
        const device = await (await navigator.gpu.requestAdapter()).requestDevice();
        device.createBuffer({ size: 4, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE });
        await device.queue.onSubmittedWorkDone();
    })()";
    let cases = [
        ("console.error('bad', 3)", Kind::Error, "bad 3"),
        ("setTimeout(() => { throw new Error('thrown') })", Kind::Uncaught, "thrown"),
        ("void Promise.reject(new Error('rejected'))", Kind::Uncaught, "rejected"),
        ("fetch('/nothing').then(() => 0)", Kind::Error, "404"),
        (WEBGPU, Kind::Error, "MapRead"),
    ];
    with_page("", Look::WIDE, |tab, _, _| {
        tab.eval::<Value>("void console.warn('only a warning')")?;
        tab.check_clean()?;
        for (mistake, kind, text) in cases {
            tab.eval::<Value>(mistake)?;
            let deadline = Instant::now() + PATIENCE;
            loop {
                let seen = tab.messages();
                if seen.iter().any(|message| message.kind == kind && message.text.contains(text)) {
                    break;
                }
                ensure!(Instant::now() < deadline, "{mistake}: {kind:?} '{text}' is not among {seen:?}");
                sleep(Duration::from_millis(20));
            }
            tab.check_clean().unwrap_err();
            tab.forget_messages();
            tab.check_clean()?;
        }
        Ok(())
    })
}

fn waiting() -> Result<()> {
    with_page("<script>setTimeout(() => { ready = true }, 100)</script>", Look::WIDE, |tab, _, url| {
        tab.wait_for("window.ready", PATIENCE)?;
        tab.eval::<Value>("void (document.body.dataset.state = 'stuck')")?;
        let error = format!("{:#}", tab.wait_for("window.never", Duration::from_millis(100)).unwrap_err());
        ensure!(error.contains("stuck") && error.contains("window.never"), "{error}");
        tab.reload()?;
        ensure!(!tab.eval::<bool>("'state' in document.body.dataset")?);
        tab.navigate(&format!("{url}?other"))?;
        ensure!(tab.eval::<String>("location.search")? == "?other");
        tab.navigate("http://127.0.0.1:1/").unwrap_err();
        tab.set_timeout(Duration::from_millis(200));
        tab.eval::<Value>("new Promise(() => 0)").unwrap_err();
        Ok(())
    })
}
