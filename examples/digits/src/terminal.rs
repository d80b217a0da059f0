//! The terminal program: trains, shows its progress, compares the run with torch's and draws it.

mod adapters;
mod blocking;
mod canvas;
mod comparison;
mod drawing;
mod options;
mod panel;
mod plot;
mod progress;
mod record;

use std::process::ExitCode;

use anyhow::{Context, Result};
use digits::{Dataset, TorchRun, Trainer, Wanted};
use wgpu_adam::AdamConfig;

use blocking::wait;
use comparison::{Comparison, LOSS_BOUND};
use options::{Options, USAGE};
use progress::Progress;
use record::{Run, output_folder, shortened};

/// Does what the arguments ask for; the exit code says whether the run agrees with torch's where it should.
pub fn main(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    run(arguments).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(arguments: impl IntoIterator<Item = String>) -> Result<ExitCode> {
    let torch = TorchRun::recorded()?;
    let options = Options::parse(arguments, torch.epochs, torch.lr)?;
    if options.help {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    if options.list_adapters {
        for adapter in adapters::all() {
            println!("{}", adapters::describe(&adapter.get_info()));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let run = train(&options)?;
    let test_len = Dataset::embedded()?.test.len();
    let comparison = Comparison::new(&run, &torch, test_len);

    let folder = output_folder()?;
    let (json, png) = (folder.join("run.json"), folder.join("loss.png"));
    run.write(&json)?;
    plot::draw(&png, &run, &torch, comparison.as_ref())?;
    println!("run   {}", shortened(&json));
    println!("plot  {}", shortened(&png));
    Ok(report(&torch, comparison.as_ref(), test_len))
}

fn train(options: &Options) -> Result<Run> {
    let adapter = adapters::choose(options.adapter.as_deref())?;
    let info = adapter.get_info();
    let adapter_name = adapters::describe(&info);
    println!("training on {adapter_name}");
    let (device, queue) = adapters::open(&adapter)?;
    let config = AdamConfig { lr: options.lr, ..AdamConfig::default() };
    let mut trainer = Trainer::new(&device, &queue, &Dataset::embedded()?, config)?;
    let mut run = Run {
        adapter: adapter_name,
        device: format!("{}, {:?}", info.name, info.backend),
        lr: options.lr,
        epochs: options.epochs,
        loss_per_step: Vec::new(),
        test_accuracy_per_epoch: Vec::new(),
    };
    let progress = Progress::new(options.epochs, trainer.steps_per_epoch())?;
    for epoch in 1..=options.epochs {
        for _ in 0..trainer.steps_per_epoch() {
            trainer.step()?;
        }
        let report = wait(&device, trainer.read(Wanted { accuracy: true, ..Wanted::default() }))?;
        let accuracy = report.accuracy.context("no test accuracy")?;
        let last_loss = *report.losses.last().context("an epoch without a step")?;
        run.loss_per_step.extend(report.losses);
        run.test_accuracy_per_epoch.push(accuracy);
        progress.epoch(epoch, trainer.steps(), last_loss, accuracy);
    }
    let rate = progress.finish(trainer.steps());
    if let Some(accuracy) = run.test_accuracy_per_epoch.last() {
        println!("test accuracy {:.2} % after {} steps, {rate:.0} steps/s", 100.0 * accuracy, trainer.steps());
    }
    Ok(run)
}

fn report(torch: &TorchRun, comparison: Option<&Comparison>, test_len: usize) -> ExitCode {
    let Some(comparison) = comparison else {
        println!("nothing to compare with: torch's recorded run has lr {:?}", torch.lr);
        return ExitCode::SUCCESS;
    };
    let (steps, worst) = (comparison.differences.len(), comparison.worst());
    println!("torch {}: worst |loss - torch| {worst:.1e} over {steps} steps (bound {LOSS_BOUND:e})", torch.torch);
    println!("       test accuracy of every epoch within {} of {test_len} digits", comparison.most_digits);
    if comparison.passes() {
        println!("the run agrees with torch's");
        return ExitCode::SUCCESS;
    }
    eprintln!("the run does NOT agree with torch's");
    ExitCode::FAILURE
}
