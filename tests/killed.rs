//! A save that is cut off at any moment leaves a whole checkpoint, the old one or the new one: 200 processes killed while
//! they save, and disks that are full from any byte on.

#![cfg(unix)]

#[path = "support/folder.rs"]
mod folder;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use folder::Folder;
use pollster::block_on;
use wgpu_adam::{
    AdamConfig, Checkpoint, CheckpointContents, CheckpointError, CheckpointTensor, Error, Param, WgpuAdam, wgpu,
};

/// What tells a child process what to do: a file to save to, and how often.
const FILE: &str = "WGPU_ADAM_TEST_FILE";
const SAVES: &str = "WGPU_ADAM_TEST_SAVES";

/// Elements of the state: so many that writing them takes some time.
const ELEMENTS: usize = 100_000;

/// An optimizer on the noop device, and checkpoints that tell which save they are of.
struct Run {
    adam: WgpuAdam,
    saves: u64,
}

impl Run {
    fn new() -> Self {
        let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
        let buffer = || {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: 4 * ELEMENTS as u64,
                usage: wgpu::BufferUsages::STORAGE,
                mapped_at_creation: false,
            })
        };
        let param = Param::new("w", [ELEMENTS], &buffer(), &buffer());
        Self { adam: WgpuAdam::new(&device, &queue, [param], AdamConfig::default()).unwrap(), saves: 0 }
    }

    /// A step, and a checkpoint of it whose tensor `mark` is full of its number.
    fn save(&mut self, path: &Path) -> Result<(), Error> {
        self.saves += 1;
        self.adam.step().unwrap();
        let mark = CheckpointTensor::f32([ELEMENTS], &vec![self.saves as f32; ELEMENTS])?;
        let contents = CheckpointContents::new().tensor("mark", mark).metadata("save", self.saves.to_string());
        block_on(self.adam.save_checkpoint_with(path, &contents))
    }
}

/// The number of the save that a file is of, all of which must be of it.
fn saved(path: &Path) -> u64 {
    let checkpoint = Checkpoint::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let save: u64 = checkpoint.metadata()["save"].parse().unwrap();
    let dict = checkpoint.state_dict().unwrap();
    assert_eq!(dict.state[&0].step, save, "the step count of save {save}");
    assert_eq!(dict.state[&0].exp_avg.len(), ELEMENTS);
    let mark = checkpoint.tensor("mark").unwrap().to_f32().unwrap();
    assert!(mark.len() == ELEMENTS && mark.iter().all(|value| *value == save as f32), "a file of two saves");
    save
}

fn partials(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "partial")).collect()
}

/// This test program again, to run the test `child` below. It prints a line before its second save.
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

/// Saves as often as it is told; nothing unless another test has started it.
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
        assert!(kills <= 4000, "only {interrupted} of {kills} kills were in a save");
        let mut child = start(&path, u64::MAX, None);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut next_saved = || lines.find(|line| line.starts_with("saved")).expect("a save");
        next_saved();
        let first = Instant::now();
        next_saved();
        // Spread over a save and a half, by the golden ratio.
        between = (between + first.elapsed()) / 2;
        let share = (f64::from(kills) * 0.618_034).fract() * 1.5;
        std::thread::sleep(between.mul_f64(share));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9), "the child was not killed");
        // A killed save is told by what it leaves beside the file.
        let left = partials(folder.path());
        interrupted += left.len().min(1);
        left.iter().for_each(|path| fs::remove_file(path).unwrap());
        last = saved(&path);
        assert!(last >= 2, "the file is of save {last}, which was replaced before the kill");
    }
    println!(
        "{interrupted} of {kills} kills were in a save; the last file is of save {last}, a save takes {between:?}"
    );
}

/// The system refuses to write past a size, which is swept over the file: its header, every tensor, its last byte.
#[test]
fn full_disks() {
    let folder = Folder::new("full");
    let path = folder.path().join("run.safetensors");
    Run::new().save(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    let blocks = whole.len() as u64 / 512;
    for limit in [0, 1, 2, blocks / 3, blocks / 2, blocks - 1, blocks] {
        // Limits of files are in blocks of 512 bytes in POSIX, and the signal is what a full disk does not send.
        let mut child = start(&path, 2, Some(&format!("trap '' XFSZ; ulimit -f {limit}")));
        let lines: Vec<String> = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
        let refused = lines.iter().filter(|line| line.starts_with("refused")).count();
        assert!(child.wait().unwrap().success(), "{limit} blocks: {lines:?}");
        assert_eq!(refused, 2, "{limit} blocks of {blocks}: {lines:?}");
        assert!(fs::read(&path).unwrap() == whole, "{limit} blocks: the file has changed");
        assert_eq!(partials(folder.path()), Vec::<PathBuf>::new(), "{limit} blocks: what was begun is still there");
    }
}

/// Files that a killed run left are removed in time, and no others.
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

/// A link stays one, and the new file is as private as the old.
#[test]
fn links_and_permissions_stay() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("links");
    let (real, link) = (folder.path().join("real.safetensors"), folder.path().join("link.safetensors"));
    fs::write(&real, b"old").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink("real.safetensors", &link).unwrap();
    let mut run = Run::new();
    run.save(&link).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(saved(&real), 1);
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
    for (wrong, kind) in [
        (folder.path().join("no-folder/run.safetensors"), std::io::ErrorKind::NotFound),
        (folder.path().to_owned(), std::io::ErrorKind::IsADirectory),
        (real.join("run.safetensors"), std::io::ErrorKind::NotADirectory),
    ] {
        match run.save(&wrong) {
            Err(Error::Checkpoint(CheckpointError::Io { kind: got, path, .. })) if got == kind => {
                assert_eq!(path, wrong.display().to_string());
            }
            other => panic!("{}: {other:?}", wrong.display()),
        }
    }
}
