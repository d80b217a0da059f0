//! The terminal program: trains, shows progress, compares the run with torch's and draws it.

mod adapters;
mod blocking;
mod canvas;
mod comparison;
mod drawing;
mod gradients;
mod options;
mod panel;
mod plot;
mod progress;
mod record;
mod saving;

use std::process::ExitCode;

use anyhow::{Context, Result};
use digits::{Curves, Dataset, TorchRun, Trainer, Wanted};
use wgpu_adam::{AdamConfig, Checkpoint};

use blocking::wait;
use comparison::{Comparison, LOSS_BOUND};
use options::{Options, USAGE};
use progress::Progress;
use record::{Run, output_folder, shortened};
use saving::{INTERRUPTED, Saving};

/// Does what the arguments ask for. The exit code says whether the run agrees with torch's, if it should.
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
    let Some(run) = train(&options)? else { return Ok(ExitCode::from(INTERRUPTED)) };
    let test_len = Dataset::embedded()?.test.len();
    let comparison = Comparison::new(&run, &torch, test_len);

    let folder = output_folder(options.output.as_deref())?;
    let (json, png) = (folder.join("run.json"), folder.join("loss.png"));
    run.write(&json)?;
    plot::draw(&png, &run, &torch, comparison.as_ref())?;
    println!("run   {}", shortened(&json));
    println!("plot  {}", shortened(&png));
    Ok(report(&run, &torch, comparison.as_ref(), test_len))
}

/// `None` if Ctrl-C ended the run.
fn train(options: &Options) -> Result<Option<Run>> {
    let adapter = adapters::choose(options.adapter.as_deref())?;
    let info = adapter.get_info();
    let adapter_name = adapters::describe(&info);
    println!("training on {adapter_name}");
    let (device, queue) = adapters::open(&adapter)?;
    let config = AdamConfig { lr: options.lr, ..AdamConfig::default() };
    let mut trainer = Trainer::new(&device, &queue, &Dataset::embedded()?, config)?;
    let gradients = &options.gradients;
    trainer.adam().set_gradient_control(gradients.control())?;
    let mut curves = Curves::default();
    if let Some(file) = options.checkpoint.as_ref().filter(|_| options.resume) {
        let checkpoint = Checkpoint::open(file).with_context(|| format!("resuming {}", file.display()))?;
        curves = Curves::of(&checkpoint)?;
        wait(&device, trainer.resume(&checkpoint, curves.steps()))?;
        println!("going on from step {} of {}", trainer.steps(), file.display());
    }
    let saving = Saving::new(options)?;
    let progress = Progress::new(options.epochs, trainer.steps_per_epoch(), trainer.steps())?;
    let steps = (options.epochs * trainer.steps_per_epoch()) as u64;
    while trainer.steps() < steps {
        trainer.step()?;
        let ends_epoch = trainer.steps().is_multiple_of(trainer.steps_per_epoch() as u64);
        // Checked once per step: a Ctrl-C after this counts for the next step.
        let is_interrupted = saving.is_interrupted();
        let saves = is_interrupted || saving.is_due(trainer.steps()) || trainer.steps() == steps;
        if ends_epoch || saves {
            let report = wait(&device, trainer.read(Wanted { accuracy: ends_epoch, ..Wanted::default() }))?;
            curves.losses.extend(report.losses);
            curves.accuracies.extend(report.accuracy);
        }
        if ends_epoch {
            // The latest statistics, of some earlier step: the program does not wait for the last step's.
            let told = trainer.adam().latest_statistics();
            progress.epoch(trainer.steps(), &curves, &gradients.told(told));
        }
        if saves {
            saving.save(&device, &mut trainer, &curves)?;
        }
        if is_interrupted {
            progress.finish(trainer.steps());
            println!("interrupted after {} steps; --resume goes on from there", trainer.steps());
            return Ok(None);
        }
    }
    let rate = progress.finish(trainer.steps());
    if let Some(accuracy) = curves.accuracies.last() {
        println!("test accuracy {:.2} % after {} steps, {rate:.0} steps/s", 100.0 * accuracy, trainer.steps());
    }
    let steps_skipped = wait(&device, trainer.skipped())?;
    if gradients.skips() {
        println!("steps skipped for gradients that were not finite: {steps_skipped} of {}", trainer.steps());
    }
    Ok(Some(Run {
        adapter: adapter_name,
        device: format!("{}, {:?}", info.name, info.backend),
        lr: trainer.adam().param_groups().first().map_or(options.lr, |group| group.config().lr),
        epochs: options.epochs,
        gradients: gradients.clone(),
        steps_skipped,
        loss_per_step: curves.losses,
        test_accuracy_per_epoch: curves.accuracies,
    }))
}

fn report(run: &Run, torch: &TorchRun, comparison: Option<&Comparison>, test_len: usize) -> ExitCode {
    let Some(comparison) = comparison else {
        println!("nothing to compare with: {}", run.stands_alone(torch).unwrap_or_default());
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
