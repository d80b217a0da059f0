//! Replays golden cases and judges the results:
//!
//! ```sh
//! cargo run --release --example replay -- tests/golden
//! ```
//!
//! `--case NAME` replays one case, `--adapter SUBSTRING` chooses the adapter by a part of its printed description, and
//! `--dump OUT` writes the results of each case to `OUT/NAME.safetensors`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use wgpu_adam_suite::{
    Gpu,
    adapter::{adapters, select},
    dump::dump,
    golden::{
        Case,
        continuation::{Folder, continue_run},
        names,
    },
    judge::judge,
    replay::{Placement, replay},
};

const USAGE: &str = "usage: replay DIR [--case NAME] [--adapter SUBSTRING] [--dump OUT]";

struct Arguments {
    folder: PathBuf,
    case: Option<String>,
    adapter: Option<String>,
    dump: Option<PathBuf>,
}

enum Outcome {
    Passed(String),
    Failed(String),
}

fn main() -> ExitCode {
    replay_all().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}

fn replay_all() -> Result<ExitCode> {
    let Some(arguments) = parse(std::env::args().skip(1))? else {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    };
    let (mut passed, mut failed) = (0, 0);
    let all = names(&arguments.folder)?;
    let cases = match &arguments.case {
        Some(case) if !all.contains(case) => bail!("there is no case '{case}' in {}", arguments.folder.display()),
        Some(case) => vec![case.clone()],
        None => all,
    };
    let adapter = select(pollster::block_on(adapters()), arguments.adapter.as_deref())?;
    let gpu = pollster::block_on(Gpu::full(&adapter))?;
    println!("adapter: {}", gpu.adapter_name);
    for name in cases {
        let outcome = run(&gpu, &arguments, &name).unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
        let (count, word, text) = match outcome {
            Outcome::Passed(text) => (&mut passed, "passed", text),
            Outcome::Failed(text) => (&mut failed, "FAILED", text),
        };
        *count += 1;
        println!("{name:30} {word:7} {text}");
    }
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run(gpu: &Gpu, arguments: &Arguments, name: &str) -> Result<Outcome> {
    if arguments.folder.join(name).is_dir() {
        return continued(gpu, &arguments.folder.join(name));
    }
    let case = Case::load(&arguments.folder, name)?;
    let results = pollster::block_on(replay(gpu, &case, Placement::Arena));
    gpu.check_errors()?;
    let results = results?;
    if let Some(folder) = &arguments.dump {
        std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let path = folder.join(format!("{name}.safetensors"));
        std::fs::write(&path, dump(&case, &results)?).with_context(|| format!("writing {}", path.display()))?;
    }
    let verdict = judge(&case, &results, pollster::block_on(gpu.keeps_denormals())?)?;
    let figures = verdict.figures.to_string();
    Ok(match verdict.into_result() {
        Ok(()) => Outcome::Passed(figures),
        Err(failures) => Outcome::Failed(failures.to_string()),
    })
}

/// Continues a checkpoint of torch's.
fn continued(gpu: &Gpu, folder: &Path) -> Result<Outcome> {
    let read = |file: &str| std::fs::read(folder.join(file)).with_context(|| format!("reading {file}"));
    let manifest = String::from_utf8(read("manifest.json")?)?;
    let (checkpoint, continuation) = (read("model_optimizer.safetensors")?, read("continuation.safetensors")?);
    let files = Folder { manifest: &manifest, checkpoint: &checkpoint, continuation: &continuation };
    let shares = pollster::block_on(continue_run(gpu, &files));
    gpu.check_errors()?;
    Ok(Outcome::Passed(shares?.to_string()))
}

/// `None` if help is requested.
fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Arguments>> {
    let (mut folder, mut case, mut adapter, mut dump) = (None, None, None, None);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value\n{USAGE}"));
        match word.as_str() {
            "--help" | "-h" => return Ok(None),
            "--case" => case = Some(value()?),
            "--adapter" => adapter = Some(value()?),
            "--dump" => dump = Some(value()?.into()),
            _ if word.starts_with('-') || folder.is_some() => bail!("unexpected argument '{word}'\n{USAGE}"),
            _ => folder = Some(word.into()),
        }
    }
    Ok(Some(Arguments { folder: folder.context(USAGE)?, case, adapter, dump }))
}
