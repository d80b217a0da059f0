//! Checkpoint files between the page and the terminal program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use digits::{Curves, Saved};
use wgpu_adam::{AdamConfig, Checkpoint, CheckpointContents, CheckpointTensor, StateDict, StateGroup, TensorState};
use wgpu_adam_browser::{Look, pages};

use crate::{LOSS_BOUND, PATIENCE, Page, Site, shoot};

/// A folder without files.
pub fn folder(name: &str) -> Result<PathBuf> {
    let folder = pages("web-files").context("the target folder")?.join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Trains in the terminal, on its preferred adapter.
pub fn terminal(file: &Path, arguments: &[&str]) -> Result<()> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_digits"));
    let output = program.arg("--checkpoint").arg(file).args(arguments).output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{arguments:?}: {}\n{said}", output.status);
    Ok(())
}

fn curves(file: &Path) -> Result<Curves> {
    Curves::of(&Checkpoint::open(file)?)
}

fn widened(losses: &[f32]) -> Vec<f64> {
    losses.iter().copied().map(f64::from).collect()
}

impl Page {
    /// Clicks on the download and waits for the file in a new folder.
    fn download(&self, site: &Site, folder: &Path) -> Result<PathBuf> {
        fs::create_dir(folder)?;
        site.browser.download_to(folder)?;
        self.click("download")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let files = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
            // The browser uses another name until the file is complete.
            let whole =
                files.iter().map(fs::DirEntry::path).find(|path| path.extension() == Some("safetensors".as_ref()));
            if let Some(file) = whole {
                return Ok(file);
            }
            ensure!(Instant::now() < deadline, "no file was downloaded: {files:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn value(&self, id: &str) -> Result<String> {
        self.tab.eval(&format!("document.getElementById('{id}').value"))
    }
}

pub fn from_the_terminal(site: &Site) -> Result<()> {
    let folder = folder("from-the-terminal")?;
    let file = folder.join("third epoch.safetensors");
    terminal(&file, &["--epochs", "3"])?;
    let written = curves(&file)?;

    let page = site.ready("?epochs=6&pace=full")?;
    page.tab.choose_file("#file", &file)?;
    page.message("third epoch.safetensors opened: epoch 3, step 69")?;
    page.state("paused")?;
    ensure!(page.losses()? == widened(&written.losses), "the losses differ");
    let accuracy = page.number("accuracy")?;
    // The weights are the same, but the adapter differs.
    let last = written.accuracies.last().context("an accuracy")?;
    ensure!((accuracy - last).abs() < 1.5 / 360.0, "accuracy {accuracy}, not {last}");
    page.check()?;

    // Without a step in between, the download equals the opened file.
    let again = page.download(site, &folder.join("again"))?;
    ensure!(again.ends_with("digits-step-69.safetensors"), "{}", again.display());
    ensure!(fs::read(&again)? == fs::read(&file)?, "the download differs from the opened file");

    page.click("start")?;
    page.state("done")?;
    page.check_losses(138)?;
    page.shows("distance", "!== '–'").context("there is no distance from torch")?;
    page.check()?;

    // Opened in the middle of another run, with the file's own options; AMSGrad can be switched on later.
    let fast = folder.join("fast.safetensors");
    terminal(&fast, &["--epochs", "2", "--lr", "0.01"])?;
    page.click("reset")?;
    page.state("ready")?;
    page.when_past(10, "window.held = true")?;
    page.click("start")?;
    page.past_step(10)?;
    page.tab.choose_file("#file", &fast)?;
    page.tab.eval::<serde_json::Value>("void (window.held = false)")?;
    page.message("fast.safetensors opened: epoch 2, step 46")?;
    page.state("paused")?;
    ensure!(page.losses()? == widened(&curves(&fast)?.losses), "the losses differ");
    ensure!(page.value("lr")? == "0.01", "the learning rate is {}", page.value("lr")?);
    page.shows("distance", "=== '–'").context("compared with a torch run of another learning rate")?;
    page.click("amsgrad")?;
    page.click("start")?;
    page.state("done")?;
    let losses = page.losses()?;
    let mean = |epoch: usize| losses[epoch * 23..(epoch + 1) * 23].iter().sum::<f64>() / 23.0;
    ensure!(mean(5) < 0.5 * mean(1), "the loss went from {} to {}", mean(1), mean(5));
    let maxima = "optimizer.state.fc1.weight.max_exp_avg_sq";
    let with_amsgrad = Checkpoint::open(page.download(site, &folder.join("with-amsgrad"))?)?;
    ensure!(with_amsgrad.tensors().any(|(name, ..)| name == maxima), "the download has no {maxima}");
    page.check()
}

pub fn to_the_terminal(site: &Site) -> Result<()> {
    let folder = folder("to-the-terminal")?;
    let page = site.ready("?epochs=400")?;
    // Nothing can be downloaded yet.
    page.click("download")?;
    page.click("start")?;
    page.past_step(30)?;
    let in_training = page.download(site, &folder.join("training"))?;
    ensure!(page.tab.eval::<String>("document.body.dataset.state")? == "training", "the download has stopped it");
    page.click("pause")?;
    page.state("paused")?;
    page.check()?;
    let at_rest = page.download(site, &folder.join("paused"))?;
    let torch = digits::TorchRun::recorded()?.loss_per_step;
    let losses = page.losses()?;
    for file in [in_training, at_rest.clone()] {
        let (written, shown) = (curves(&file)?, file.display());
        let steps = written.losses.len();
        ensure!(steps > 30 && steps <= losses.len(), "{shown}: {steps} losses of {}", losses.len());
        ensure!(file != at_rest || steps == losses.len(), "{shown}: {steps} losses of {}", losses.len());
        ensure!(widened(&written.losses) == losses[..steps], "{shown}: the losses differ");
        ensure!(written.accuracies.len() == steps / 23, "{shown}: {} accuracies", written.accuracies.len());
        let epochs = steps / 23 + 3;
        // The program fails if a loss is farther than 1e-5 from torch's.
        terminal(&file, &["--resume", "--epochs", &epochs.to_string()])?;
        let gone_on = curves(&file)?;
        ensure!(gone_on.losses.len() == epochs * 23, "{shown}: {} losses", gone_on.losses.len());
        ensure!(gone_on.losses.starts_with(&written.losses), "{shown}: the terminal's losses are others");
        for (step, (ours, torch)) in gone_on.losses.iter().zip(&torch).enumerate() {
            ensure!(f64::from((ours - torch).abs()) < LOSS_BOUND, "{shown}, step {step}: loss {ours}, not {torch}");
        }
    }
    // An option that is changed while the run is paused is in the next file.
    page.tab.fill("#lr", "0.02")?;
    page.tab.fill("#eps", "1e-6")?;
    let changed = page.download(site, &folder.join("changed"))?;
    let group = Checkpoint::open(&changed)?.outline().param_groups[0].clone();
    ensure!((group.lr, group.eps) == (Some(0.02), Some(1e-6)), "the file has {group:?}");
    page.check()?;

    // A page with the default options takes those of the file.
    let other = site.ready("?epochs=4")?;
    other.tab.choose_file("#file", &changed)?;
    other.message("opened")?;
    let shown = [other.value("lr")?, other.value("eps")?];
    ensure!(shown == ["0.02", "0.000001"], "the fields have {shown:?}");
    other.shows("distance", "=== '–'").context("compared with a torch run of another eps")?;
    other.check()
}

/// A run of one step, with parameters of these names and this shape.
fn state(names: &[&str], shape: &[usize]) -> StateDict {
    let zeros = vec![0.0; shape.iter().product()];
    let entry =
        TensorState { step: 1, shape: shape.to_vec(), exp_avg: zeros.clone(), exp_avg_sq: zeros, max_exp_avg_sq: None };
    let ids: Vec<u64> = (0..names.len() as u64).collect();
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    StateDict {
        state: ids.iter().map(|id| (*id, entry.clone())).collect(),
        param_groups: vec![StateGroup::new(&AdamConfig::default(), ids, Some(names))],
        ..StateDict::default()
    }
}

pub fn bad_files(site: &Site) -> Result<()> {
    let folder = folder("bad")?;
    let good = folder.join("good.safetensors");
    terminal(&good, &["--epochs", "1"])?;
    let whole = fs::read(&good)?;
    let bytes = |dict: &StateDict, contents: CheckpointContents| dict.to_safetensors(&contents);
    let named = |name: &str, tensor| CheckpointContents::optimizer_only().with_tensor(name, tensor);
    let own = &["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"];
    let values = CheckpointTensor::f32([3], &[1.0; 3])?;
    let run = Saved::of(&Checkpoint::open(&good)?)?;
    let mut diverged = curves(&good)?;
    diverged.losses[7] = f32::NAN;
    let (mut short, mut shorter) = (curves(&good)?, run.clone());
    short.losses.pop();
    shorter.steps -= 1;
    let mut renamed = whole.clone();
    let name = whole.windows(24).position(|at| at == b"optimizer.state.fc1.bias").context("a name")?;
    renamed[name] = b'O';

    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", Vec::new(), "no checkpoint"),
        ("picture.png", b"\x89PNG\r\n\x1a\n and so on".to_vec(), "no checkpoint"),
        ("half", whole[..whole.len() / 2].to_vec(), "the file is cut short"),
        ("longer", [whole.as_slice(), b"!"].concat(), "no checkpoint"),
        ("renamed", renamed, "optimizer.state.fc1.bias"),
        ("large", vec![0; 17_000_000], "17 MB"),
        (
            "other-model",
            bytes(&state(&["a", "b"], &[3]), CheckpointContents::optimizer_only())?,
            "2 parameters (a, b), not of fc1.weight",
        ),
        ("other-shapes", bytes(&state(own, &[3]), named("model.fc1.weight", values))?, "of other shapes"),
        ("no-steps", bytes(&StateDict::default(), CheckpointContents::optimizer_only())?, "without steps"),
        ("diverged", run.to_checkpoint(&diverged)?, "diverged"),
        ("short", shorter.to_checkpoint(&short)?, "have taken 23 steps in a run of 22"),
    ];
    let page = site.ready("?epochs=4&pace=full")?;
    let refused = |name: &str, said: &str| -> Result<()> {
        let message = page.message(&format!("{name} could not be opened"))?;
        ensure!(message.contains(said) && message.ends_with("Your run is unchanged."), "{name}: {message}");
        let bad: bool = page.tab.eval("document.getElementById('message').classList.contains('bad')")?;
        ensure!(bad && page.notice()?.is_none(), "{name}: it looks like nothing, or like too much");
        Ok(())
    };
    for (name, contents, said) in &cases {
        fs::write(folder.join(name), contents)?;
        page.tab.choose_file("#file", &folder.join(name))?;
        refused(name, said)?;
    }
    ensure!(page.tab.eval::<String>("document.body.dataset.state")? == "ready", "the page is not ready any more");
    // On a phone the button is far below the line with the result.
    page.tab.set_look(Look::NARROW.dark())?;
    page.tab.place_of("#open")?;
    page.tab.choose_file("#file", &folder.join(cases[1].0))?;
    refused(cases[1].0, cases[1].2)?;
    page.until(
        "(({ top, bottom }) => top >= 0 && bottom <= innerHeight)(document.getElementById('message').getBoundingClientRect())",
    )?;
    shoot(&page, "refused")?;
    page.click("step")?;
    page.until("document.body.dataset.step === '1' && document.body.dataset.state === 'paused'")?;
    ensure!(page.text("message-text")?.is_empty(), "the message stays: {}", page.text("message-text")?);
    page.click("start")?;
    // During training.
    for (name, _, said) in &cases[..3] {
        page.tab.choose_file("#file", &folder.join(name))?;
        refused(name, said)?;
    }
    page.state("done")?;
    page.check_losses(92)?;
    // The same input accepts a good file afterwards.
    page.tab.choose_file("#file", &good)?;
    page.message("good.safetensors opened: epoch 1, step 23")?;
    page.state("paused")?;
    page.check()
}
