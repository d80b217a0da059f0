//! Devices that are lost, and browsers without a device.

use anyhow::{Context, Result, ensure};

use crate::{KEEP_DEVICE, PAUSE, Site};

pub fn lost_device(site: &Site) -> Result<()> {
    let page = site.ready("?epochs=5&pace=full")?;
    let destroy = || page.tab.eval::<serde_json::Value>("void gpuDevice.destroy()");
    let go_on = || page.tab.click("#notice-action");
    let said = || page.notice()?.context("nothing is said");

    page.when_past(20, PAUSE)?;
    page.tab.click("#start")?;
    page.state("paused")?;
    let (accuracy, losses) = (page.number("accuracy")?, page.losses()?);
    destroy()?;
    page.noticed("The GPU device was lost")?;
    ensure!(said()?.contains(&format!("kept up to step {}", losses.len())), "{}", said()?);
    // No click may disturb the page now.
    for id in ["#start", "#step", "#reset", "#sample"] {
        page.tab.click(id)?;
    }
    go_on()?;
    page.state("paused")?;
    ensure!(page.number("accuracy")? == accuracy, "the accuracy was {accuracy}, and is {}", page.number("accuracy")?);
    ensure!(page.losses()? == losses, "the losses have changed");
    ensure!(page.notice()?.is_none(), "the notice stays");

    page.when_past(losses.len() as u64, "gpuDevice.destroy()")?;
    page.tab.click("#start")?;
    page.noticed("The GPU device was lost")?;
    ensure!(said()?.contains("kept up to step"), "{}", said()?);
    // It was training, and continues.
    go_on()?;
    page.state("done")?;
    page.check_losses(115)?;
    page.check()
}

/// Pending work fails before the page is notified of the loss.
pub fn reported_late(site: &Site) -> Result<()> {
    let late = "const { get } = Object.getOwnPropertyDescriptor(GPUDevice.prototype, 'lost');
        Object.defineProperty(GPUDevice.prototype, 'lost', { get() {
            return get.call(this).then(info => new Promise(done => setTimeout(done, 1000, info)));
        } });";
    let page = site.open("?epochs=5&pace=full", &format!("{KEEP_DEVICE}{late}"))?;
    page.state("ready")?;
    page.when_past(30, "gpuDevice.destroy()")?;
    page.tab.click("#start")?;
    page.noticed("Something went wrong")?;
    page.noticed("The GPU device was lost")?;
    page.tab.click("#notice-action")?;
    // It was training, and continues.
    page.state("done")?;
    page.check_losses(115)
}

pub fn no_gpu(site: &Site) -> Result<()> {
    let hidden = "Object.defineProperty(Navigator.prototype, 'gpu', { value: undefined });";
    let no_adapter = "GPU.prototype.requestAdapter = async () => null;";
    for (script, title, remedy) in [
        (hidden, "This browser has no WebGPU", "Chrome"),
        (no_adapter, "No GPU is available to this page", "hardware acceleration"),
    ] {
        let page = site.open("?autostart=1&epochs=1", script)?;
        page.state("error")?;
        let notice = page.notice()?.context("nothing is said")?;
        ensure!(notice.contains(title) && notice.contains(remedy), "{notice}");
        page.tab.click("#start")?;
        page.tab.check_clean()?;
    }
    Ok(())
}
