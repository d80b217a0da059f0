//! Complete runs.

use std::fs;
use std::io::Write;

use anyhow::{Context, Result, ensure};
use digits::TorchRun;
use flate2::{Compression, write::GzEncoder};
use wgpu_adam_browser::pages;

use crate::{LOSS_BOUND, PAUSE, Site, shoot};

const LEAST_ACCURACY: f64 = 0.97;
const LARGEST_DOWNLOAD: usize = 250_000;

pub fn forty_epochs_follow_torch(site: &Site) -> Result<()> {
    let torch = TorchRun::recorded()?;
    let waiting = site.ready("?epochs=40")?;
    shoot(&waiting, "start")?;
    waiting.check()?;
    drop(waiting);

    // Measured by the page's own clock, because this program may be delayed.
    let clock = "new MutationObserver(() => {
            if (document.body?.dataset.step > 0) window.firstStep ??= performance.now();
            if (document.body?.dataset.state === 'done') window.done ??= performance.now();
        }).observe(document, { subtree: true, attributeFilter: ['data-step', 'data-state'] })";
    let page = site.open("?autostart=1&epochs=40", clock)?;
    page.past_step(0)?;
    let first_step: f64 = page.tab.eval("window.firstStep")?;
    page.past_step(200)?;
    shoot(&page, "middle")?;
    page.state("done")?;
    shoot(&page, "end")?;
    page.check()?;

    ensure!(torch.loss_per_step.len() == 920, "torch's run has {} losses", torch.loss_per_step.len());
    page.check_losses(920)?;
    let accuracy = page.number("accuracy")?;
    ensure!(accuracy >= LEAST_ACCURACY, "test accuracy {accuracy}");
    let adapter: String = page.tab.eval("document.body.dataset.adapter")?;
    ensure!(!adapter.is_empty() && page.text("adapter")? == adapter, "the adapter is {adapter:?}");
    ensure!(page.text("rate")?.parse::<f64>()? > 0.0, "no steps per second");
    // A time alone would say how busy the machine is, so the yardstick is the training itself.
    let training = page.tab.eval::<f64>("window.done")? - first_step;
    ensure!(first_step < training, "{first_step} ms passed before the first step, and {training} ms behind it");
    eprintln!(
        "first step {first_step:.0} ms after the load began, the other 919 within {training:.0} ms, on {adapter}"
    );
    Ok(())
}

pub fn buttons(site: &Site) -> Result<()> {
    let torch = TorchRun::recorded()?;
    let page = site.ready("?epochs=8")?;
    for id in ["#pause", "#reset"] {
        page.tab.click(id)?;
    }
    page.state("ready")?;
    page.tab.click("#step")?;
    page.until("document.body.dataset.step === '1' && document.body.dataset.state === 'paused'")?;
    // The second click on start happens during training and must not start a second run.
    page.when_past(3, "window.held = true")?;
    page.tab.click("#start")?;
    page.past_step(3)?;
    page.tab.click("#start")?;
    page.when_past(30, PAUSE)?;
    page.tab.eval::<serde_json::Value>("void (window.held = false)")?;
    page.state("paused")?;
    let paused = page.losses()?.len();
    ensure!(paused > 30, "paused at step {paused}");
    page.check()?;
    // Steps submitted during the pause would be counted too.
    page.tab.click("#step")?;
    page.until(&format!("document.body.dataset.step > {paused} && document.body.dataset.state === 'paused'"))?;
    ensure!(page.losses()?.len() == paused + 1, "it trained on while paused");
    page.check()?;
    page.tab.click("#start")?;
    page.state("done")?;
    page.check_losses(184)?;
    page.check()?;

    page.tab.click("#reset")?;
    page.until("document.body.dataset.state === 'ready' && document.body.dataset.step === '0'")?;
    page.tab.click("#start")?;
    page.past_step(10)?;
    // In the middle of a run.
    page.tab.click("#reset")?;
    page.until("document.body.dataset.state === 'ready' && document.body.dataset.step === '0'")?;
    page.tab.click("#step")?;
    page.until("document.body.dataset.step === '1' && document.body.dataset.state === 'paused'")?;
    ensure!((page.losses()?[0] - f64::from(torch.loss_per_step[0])).abs() < LOSS_BOUND, "the reset left something");
    page.check()
}

pub fn keyboard(site: &Site) -> Result<()> {
    let page = site.ready("?epochs=400")?;
    let focus = "document.activeElement.id || document.activeElement.value";
    let mut order = Vec::new();
    for _ in 0..30 {
        page.tab.press("Tab", false)?;
        let id: String = page.tab.eval(&format!("String({focus})"))?;
        // A ring must show the focus; the pace's inputs show it on their labels.
        let ring = "(() => { const e = document.activeElement; const shown = e.name === 'pace' ? e.nextSibling : e;
            return getComputedStyle(shown).outlineStyle; })()";
        if id == "undefined" || id.is_empty() || order.contains(&id) {
            break;
        }
        ensure!(page.tab.eval::<String>(ring)? != "none", "{id} shows no focus");
        order.push(id);
    }
    let wanted = [
        "start",
        "pause",
        "step",
        "reset",
        "download",
        "open",
        "watch",
        "defaults",
        "lr",
        "lr-slider",
        "beta1",
        "beta2",
        "eps",
        "weight-decay",
        "epochs",
        "amsgrad",
        "sample",
        "clear",
    ];
    ensure!(wanted.iter().all(|id| order.iter().any(|seen| seen == id)), "Tab reaches {order:?}");

    let to = |id: &str| page.tab.eval::<serde_json::Value>(&format!("void document.getElementById('{id}').focus()"));
    to("start")?;
    page.tab.press("Enter", false)?;
    page.state("training")?;
    ensure!(page.tab.eval::<String>(focus)? == "start", "the focus was lost");
    page.tab.press("Tab", false)?;
    page.tab.press(" ", false)?;
    page.state("paused")?;
    to("lr-slider")?;
    let before: String = page.tab.eval("document.getElementById('lr').value")?;
    page.tab.press("ArrowRight", false)?;
    let after: String = page.tab.eval("document.getElementById('lr').value")?;
    ensure!(after.parse::<f64>()? > before.parse::<f64>()?, "the slider went from {before} to {after}");
    page.check()
}

pub fn behind_another_tab(site: &Site) -> Result<()> {
    let other = site.ready("?epochs=1")?;
    // Slow until the page is hidden, so that the run does not end before.
    let page = site.ready("?epochs=40&pace=watch")?;
    let visibility = || page.tab.eval::<String>("document.visibilityState");
    page.tab.bring_to_front()?;
    ensure!(visibility()? == "visible", "the tab in front is {}", visibility()?);
    page.click("start")?;
    page.past_step(10)?;
    other.tab.bring_to_front()?;
    page.until("document.visibilityState === 'hidden'")?;
    let hidden_at = page.number("step")?;
    ensure!(hidden_at < 920.0, "it was over before it was hidden, at step {hidden_at}");
    page.tab.eval::<serde_json::Value>("void document.querySelector('[value=full]').click()")?;
    page.state("done")?;
    ensure!(visibility()? == "hidden", "the tab behind is {}", visibility()?);
    // A hidden page draws nothing.
    let drawn: f64 = page.text("steps")?.parse()?;
    ensure!(drawn < 920.0, "step {drawn} was drawn behind another tab");
    page.tab.bring_to_front()?;
    page.until("document.getElementById('steps').textContent === '920'")?;
    page.check_losses(920)?;
    eprintln!("hidden from step {hidden_at} on");
    other.check()?;
    page.check()
}

pub fn download(_: &Site) -> Result<()> {
    let folder = pages("web").context("the page")?;
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&fs::read(folder.join("digits_bg.wasm"))?)?;
    let size = packed.finish()?.len();
    ensure!(size <= LARGEST_DOWNLOAD, "digits_bg.wasm has {size} bytes after gzip");
    eprintln!("digits_bg.wasm has {size} bytes after gzip");
    Ok(())
}
