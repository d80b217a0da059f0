//! Ctrl-C: the program saves and exits with the promised code, and the resumed run ends with the bits of an
//! uninterrupted one. The same holds for a killed run that resumes from its last checkpoint. On the preferred adapter,
//! or the one that matches `WGPU_ADAPTER_NAME`.

#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use digits::Curves;
use wgpu_adam::Checkpoint;

/// Enough epochs to leave time for an interruption.
const EPOCHS: &str = "30";
const STEPS: usize = 30 * 23;
const INTERRUPTED: i32 = 130;

/// The program with these options, and with a checkpoint and an output folder in `folder`.
fn program(folder: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_digits"));
    command.args(["--epochs", EPOCHS]).args(options);
    command.arg("--checkpoint").arg(checkpoint(folder)).arg("--output").arg(folder);
    if let Ok(adapter) = std::env::var("WGPU_ADAPTER_NAME") {
        command.args(["--adapter", &adapter]);
    }
    // On a terminal, a bar would replace the lines of progress on standard error.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn checkpoint(folder: &Path) -> PathBuf {
    folder.join("run.safetensors")
}

/// An empty folder for a run.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interrupted").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", child.id())).status().unwrap();
    assert!(status.success(), "the program ended before it was interrupted");
}

/// Starts a run, and waits until it has reported an epoch. Returns the process, its further output, and its output so
/// far.
fn start(case: &str, mut command: Command) -> (Child, BufReader<ChildStdout>, String) {
    let mut child = command.spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    while !text.lines().any(|line| line.starts_with("epoch ")) {
        assert!(output.read_line(&mut text).unwrap() > 0, "{case}: ended before an epoch\n{text}");
    }
    (child, output, text)
}

/// Interrupts a run after it has reported an epoch. Returns the number of saved steps.
fn interrupt(case: &str, command: Command, folder: &Path, signal_name: &str) -> usize {
    let (child, mut output, mut text) = start(case, command);
    signal(&child, signal_name);
    output.read_to_string(&mut text).unwrap();
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    let text = format!("{text}{}", String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(INTERRUPTED), "{case}: {status}\n{text}");
    let curves = Curves::of(&Checkpoint::open(checkpoint(folder)).unwrap()).unwrap();
    let steps = curves.losses.len();
    assert!((23..STEPS).contains(&steps), "{case}: {steps} steps");
    assert_eq!(curves.accuracies.len(), steps / 23, "{case}");
    assert!(text.contains(&format!("interrupted after {steps} steps")), "{case}: {text}");
    steps
}

#[track_caller]
fn finish(case: &str, mut command: Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{case}: {status}\n{text}");
    text
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_bits() {
    let controlled: &[&str] =
        &["--clip-norm", "0.5", "--loss-scale=dynamic", "--accumulate", "3", "--save-every", "100"];
    for (name, options, signals) in [("plain", &[][..], &["INT"][..]), ("controlled", controlled, &["INT", "TERM"])] {
        let (unbroken, broken) = (folder(&format!("{name}-unbroken")), folder(&format!("{name}-broken")));
        finish(name, program(&unbroken, options));
        let mut before = 0;
        for signal in signals {
            let mut command = program(&broken, options);
            if before > 0 {
                command.arg("--resume");
            }
            let steps = interrupt(&format!("{name}, {signal} after {before}"), command, &broken, signal);
            assert!(steps > before, "{name}: {before} steps, then {steps}");
            assert!(!broken.join("run.json").exists(), "{name}: an unfinished run left a record");
            before = steps;
        }
        let mut command = program(&broken, options);
        let text = finish(name, {
            command.arg("--resume");
            command
        });
        assert!(text.contains(&format!("going on from step {before} of")), "{name}: {text}");
        for file in ["run.safetensors", "run.json"] {
            let [resumed, unbroken] = [&broken, &unbroken].map(|folder| fs::read(folder.join(file)).unwrap());
            assert!(resumed == unbroken, "{name}: {file} differs");
        }
        let curves = Curves::of(&Checkpoint::open(checkpoint(&broken)).unwrap()).unwrap();
        assert_eq!((curves.losses.len(), curves.accuracies.len()), (STEPS, 30), "{name}");
    }
}

/// The checkpoint of `--save-every` is there even if the program has no chance to save at its end.
#[test]
fn a_killed_run_goes_on_from_its_last_checkpoint() {
    let (unbroken, broken) = (folder("killed-unbroken"), folder("killed"));
    finish("unbroken", program(&unbroken, &[]));
    let every = &["--save-every", "7"];
    let (mut child, ..) = start("killed", program(&broken, every));
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success(), "the run ended before it was killed");
    let curves = Curves::of(&Checkpoint::open(checkpoint(&broken)).unwrap()).unwrap();
    let steps = curves.losses.len();
    // An epoch of 23 steps was reported.
    assert!((21..STEPS).contains(&steps) && steps.is_multiple_of(7), "a checkpoint after {steps} steps");
    let mut command = program(&broken, every);
    command.arg("--resume");
    let text = finish("resumed", command);
    assert!(text.contains(&format!("going on from step {steps} of")), "{text}");
    for file in ["run.safetensors", "run.json"] {
        let [resumed, unbroken] = [&broken, &unbroken].map(|folder| fs::read(folder.join(file)).unwrap());
        assert!(resumed == unbroken, "{file} differs");
    }
}
