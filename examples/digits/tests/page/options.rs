//! Adam's options, changed during training, and invalid ones.

use anyhow::{Context, Result, ensure};

use crate::{PAUSE, Site};

pub fn learning_rate(site: &Site) -> Result<()> {
    let page = site.ready("?epochs=10000&pace=full")?;
    page.tab.click("#start")?;
    page.past_step(30)?;
    page.tab.fill("#lr", "0")?;
    ensure!(page.text("lr-note")?.contains("nothing is learned"), "{}", page.text("lr-note")?);
    // A few steps with the old rate may still be pending.
    let changed = page.losses()?.len() as u64 + 46;
    page.past_step(changed + 70)?;
    page.tab.fill("#lr", "0.01")?;
    // However many steps the change took.
    page.past_step(page.losses()?.len() as u64 + 200)?;
    page.tab.click("#pause")?;
    page.state("paused")?;
    let losses = page.losses()?;
    // With a rate of 0 an epoch's mean stays the same, apart from the effect of its batch order; then it falls.
    let mean = |from: usize| losses[from..from + 23].iter().sum::<f64>() / 23.0;
    let epoch = (changed as usize).div_ceil(23) * 23;
    let (first, second, last) = (mean(epoch), mean(epoch + 23), mean(losses.len() - 23));
    ensure!((first - second).abs() < 0.01 * first, "at a rate of 0 the loss went from {first} to {second}");
    ensure!(last < 0.5 * first, "at a rate of 0.01 the loss went from {first} to {last}");
    page.tab.click("#amsgrad")?;
    page.tab.fill("#beta1", "0.5")?;
    page.tab.fill("#beta2", "0.99")?;
    page.tab.fill("#eps", "1e-4")?;
    page.tab.fill("#weight-decay", "0.001")?;
    page.tab.click("#step")?;
    page.until(&format!("document.body.dataset.step === '{}'", losses.len() + 1))?;
    ensure!(page.notice()?.is_none(), "{:?}", page.notice()?);
    page.check()
}

pub fn refused(site: &Site) -> Result<()> {
    let page = site.ready("?epochs=2")?;
    // Field, typed text, message, value that stays in effect.
    let cases = [
        ("lr", "-1", "at least 0", "0.003"),
        ("lr", "fast", "not a number", "0.003"),
        ("lr", "", "not a number", "0.003"),
        ("lr", "1e39", "at least 0", "0.003"),
        ("lr", "Infinity", "at least 0", "0.003"),
        ("beta1", "1", "below 1", "0.9"),
        ("beta2", "-0.1", "below 1", "0.999"),
        ("eps", "-1", "at least 0", "1e-8"),
        ("weight-decay", "-1", "at least 0", "0"),
        ("epochs", "0", "whole number", "2"),
        ("epochs", "2.5", "whole number", "2"),
        ("epochs", "1e9", "whole number", "2"),
    ];
    for (field, typed, said, kept) in cases {
        page.tab.fill(&format!("#{field}"), typed)?;
        let note = page.text(&format!("{field}-note"))?;
        ensure!(note.contains(said) && note.contains(&format!("Still using {kept}")), "{field} {typed:?}: {note:?}");
        let invalid: String = page.tab.eval(&format!("document.getElementById('{field}').ariaInvalid"))?;
        ensure!(invalid == "true", "{field} {typed:?} is not marked");
    }
    page.tab.click("#defaults")?;
    let marked: u32 = page.tab.eval("document.querySelectorAll('[aria-invalid=true]:not(#epochs)').length")?;
    ensure!(marked == 0, "{marked} fields are still marked");
    page.tab.fill("#epochs", "1")?;
    page.tab.click("#start")?;
    page.state("done")?;
    ensure!(page.losses()?.len() == 23, "{} losses", page.losses()?.len());
    page.check()
}

pub fn diverging(site: &Site) -> Result<()> {
    let page = site.ready("?epochs=20&pace=full")?;
    page.tab.fill("#lr", "1e9")?;
    page.tab.click("#start")?;
    page.state("error")?;
    let notice = page.notice()?.context("nothing is said")?;
    ensure!(notice.contains("diverged") && notice.contains("Reset"), "{notice}");
    page.check()?;
    page.tab.click("#start")?;
    page.state("error")?;
    page.tab.click("#notice-action")?;
    page.until("document.body.dataset.state === 'ready' && document.body.dataset.step === '0'")?;
    ensure!(page.notice()?.is_none(), "the notice stays");
    page.when_past(100, PAUSE)?;
    page.tab.click("#start")?;
    page.state("paused")?;
    let losses = page.losses()?;
    ensure!(losses[100] < 0.6, "the loss is {} after the reset", losses[100]);
    page.check()
}
