//! A save that is interrupted at any moment leaves a complete checkpoint, either the old one or the new one. Tested
//! with 200 processes that are killed while they save, and with disks that are full from any byte on.

#![cfg(unix)]

#[path = "support/folder.rs"]
mod folder;
#[path = "support/run.rs"]
mod run;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use folder::Folder;
use run::{Run, partials, saved};
use wgpu_adam::{CheckpointError, Error};

/// Instructions for a child process: the file to save to, and how many times.
const FILE: &str = "WGPU_ADAM_TEST_FILE";
const SAVES: &str = "WGPU_ADAM_TEST_SAVES";

/// Starts this test program again, to run the test `child` below. It prints a line before its second save.
fn start(path: &Path, saves: u64, shell: Option<&str>) -> Child {
    let own = std::env::current_exe().unwrap();
    let mut command = match shell {
        Some(script) => {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("{script}; exec \"$0\" \"$@\"")]).arg(own);
            command
        }
        None => Command::new(own),
    };
    command.args(["--exact", "child", "--nocapture"]);
    command.env(FILE, path).env(SAVES, saves.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Saves as many times as instructed. Does nothing unless another test has started it.
#[test]
fn child() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let saves: u64 = std::env::var(SAVES).unwrap().parse().unwrap();
    let mut run = Run::new();
    for save in 1..=saves {
        match run.save(Path::new(&path)) {
            Ok(()) => println!("\nsaved {save}"),
            Err(Error::Checkpoint(CheckpointError::Io { action, kind, .. })) => println!("\nrefused {action} {kind:?}"),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn two_hundred_killed_saves() {
    let folder = Folder::new("killed");
    let path = folder.path().join("run.safetensors");
    let (mut interrupted, mut last, mut between) = (0, 0, Duration::from_millis(3));
    let mut kills = 0;
    while interrupted < 200 {
        kills += 1;
        assert!(kills <= 4000, "only {interrupted} of {kills} kills interrupted a save");
        let mut child = start(&path, u64::MAX, None);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut next_saved = || lines.find(|line| line.starts_with("saved")).expect("a save");
        next_saved();
        let first = Instant::now();
        next_saved();
        // The kills are spread over the time of one and a half saves, by the golden ratio.
        between = (between + first.elapsed()) / 2;
        let share = (f64::from(kills) * 0.618_034).fract() * 1.5;
        std::thread::sleep(between.mul_f64(share));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9), "the child was not killed");
        // A save was interrupted if it left a partial file beside the target.
        let left = partials(folder.path());
        interrupted += left.len().min(1);
        left.iter().for_each(|path| fs::remove_file(path).unwrap());
        last = saved(&path);
        assert!(last >= 2, "the file is of save {last}, which was replaced before the kill");
    }
    println!(
        "{interrupted} of {kills} kills interrupted a save; the last file is of save {last}, a save takes {between:?}"
    );
}

/// The system refuses to write beyond a size. The test moves this limit over the whole file: its header, every tensor,
/// its last byte.
#[test]
fn full_disks() {
    let folder = Folder::new("full");
    let path = folder.path().join("run.safetensors");
    Run::new().save(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    let blocks = whole.len() as u64 / 512;
    for limit in [0, 1, 2, blocks / 3, blocks / 2, blocks - 1, blocks] {
        // POSIX counts file size limits in blocks of 512 bytes. The signal is ignored, because a full disk does not
        // send one.
        let mut child = start(&path, 2, Some(&format!("trap '' XFSZ; ulimit -f {limit}")));
        let lines: Vec<String> = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
        let refused = lines.iter().filter(|line| line.starts_with("refused")).count();
        assert!(child.wait().unwrap().success(), "{limit} blocks: {lines:?}");
        assert_eq!(refused, 2, "{limit} blocks of {blocks}: {lines:?}");
        assert!(fs::read(&path).unwrap() == whole, "{limit} blocks: the file has changed");
        assert!(partials(folder.path()).is_empty(), "{limit} blocks: the partial file is still there");
    }
}

/// Files that a killed run left behind are removed later, and no other files.
#[test]
fn abandoned_files_go() {
    let folder = Folder::new("abandoned");
    let path = folder.path().join("run.safetensors");
    let old = ["..run.safetensors.1-2.partial", ".run.safetensors.x-2.partial", ".other.safetensors.1-2.partial"];
    let hours = |file: &str, hours: u64| {
        let file = fs::File::create(folder.path().join(file)).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600 * hours)).unwrap();
    };
    old.iter().for_each(|file| hours(file, 9));
    hours(".run.safetensors.123-0.partial", 2);
    hours(".run.safetensors.124-0.partial", 0);
    Run::new().save(&path).unwrap();
    let left: Vec<String> = partials(folder.path())
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !old.contains(&name.as_str()))
        .collect();
    assert_eq!(left, [".run.safetensors.124-0.partial"]);
    assert_eq!(partials(folder.path()).len(), 4);
}
