//! Where checkpoints are saved: links, pipes, odd names, existing files, and many saves to one path.

#![cfg(unix)]

#[path = "support/folder.rs"]
mod folder;
#[path = "support/run.rs"]
mod run;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use folder::Folder;
use pollster::block_on;
use run::{Run, partials, saved};
use wgpu_adam::{Checkpoint, CheckpointContents, CheckpointError, Error, LoadOptions};

/// A link stays a link, and the new file has the old file's permissions.
/// Loads the optimizer's state.
fn load(run: &mut Run, path: &Path) -> Result<Checkpoint, Error> {
    let checkpoint = Checkpoint::open(path)?;
    block_on(run.adam.load_from_with(&checkpoint, &LoadOptions::new().optimizer_only()))?;
    Ok(checkpoint)
}

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

/// A dangling link points to the file after the save.
#[test]
fn dangling_links_are_followed() {
    let folder = Folder::new("dangling");
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("store")).unwrap();
    symlink("store/real.safetensors", path("near.safetensors")).unwrap();
    symlink("../near.safetensors", path("store/far.safetensors")).unwrap();
    symlink(path("none/real.safetensors"), path("lost.safetensors")).unwrap();
    symlink("loop.safetensors", path("loop.safetensors")).unwrap();
    let mut run = Run::new();
    for (save, link) in (1..).zip(["store/far.safetensors", "near.safetensors"]) {
        run.save(&path(link)).unwrap();
        assert!(fs::symlink_metadata(path(link)).unwrap().is_symlink(), "{link} was replaced");
        assert_eq!(saved(&path("store/real.safetensors")), save);
        fs::remove_file(path("store/real.safetensors")).unwrap();
    }
    for link in ["lost.safetensors", "loop.safetensors"] {
        let refused = run.save(&path(link));
        assert!(matches!(refused, Err(Error::Checkpoint(CheckpointError::Io { .. }))), "{link}: {refused:?}");
        assert!(fs::symlink_metadata(path(link)).unwrap().is_symlink(), "{link} was replaced");
    }
}

/// A path that is not a regular file stays as it is, and opening a pipe does not wait for a writer.
#[test]
fn pipes_and_sockets_are_refused() {
    let folder = Folder::new("special");
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // A socket's path must be short.
    let socket = std::env::temp_dir().join(format!("wgpu-adam-{}", std::process::id()));
    let _ = fs::remove_file(&socket);
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut run = Run::new();
    for path in [&pipe, &socket] {
        match run.save(path) {
            Err(Error::Checkpoint(CheckpointError::Io { action: "creating", kind, message, .. })) => {
                assert_eq!(kind, ErrorKind::InvalidInput);
                assert!(message.contains("a device, a pipe or a socket"), "{message}");
            }
            other => panic!("{}: {other:?}", path.display()),
        }
        let kind = fs::symlink_metadata(path).unwrap().file_type();
        assert!(kind.is_fifo() || kind.is_socket(), "{} was replaced", path.display());
    }
    for path in [pipe, socket.clone(), "/dev/zero".into(), folder.path().to_owned()] {
        let (sender, opened) = mpsc::channel();
        let own = path.clone();
        std::thread::spawn(move || sender.send(Checkpoint::open(own).map(drop)));
        let opened = opened.recv_timeout(Duration::from_secs(20)).expect("opening a pipe waited");
        match opened {
            Err(Error::Checkpoint(CheckpointError::Header { problem })) if problem.ends_with("is no file") => {}
            other => panic!("{}: {other:?}", path.display()),
        }
    }
    fs::remove_file(socket).unwrap();
}

/// Every name that the system accepts works, and so does the name of the temporary file beside it.
#[test]
fn odd_names() {
    let folder = Folder::new("names");
    let names: [(&str, OsString); 6] = [
        ("255 bytes", "x".repeat(255).into()),
        ("255 bytes of two each, from the second on", format!("x{}", "\u{e4}".repeat(127)).into()),
        ("254 bytes of two each", "\u{e4}".repeat(127).into()),
        ("no UTF-8", OsStr::from_bytes(b"run-\xff\xfe.safetensors").to_owned()),
        ("255 bytes that are no UTF-8", OsStr::from_bytes(&[0xff; 255]).to_owned()),
        ("spaces and a dot", " .safetensors".into()),
    ];
    // macOS accepts names in UTF-8 only.
    for (case, name) in names.into_iter().filter(|(_, name)| cfg!(target_os = "linux") || name.to_str().is_some()) {
        let path = folder.path().join(name);
        let mut run = Run::new();
        for save in 1..=2 {
            run.save(&path).unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!(saved(&path), save, "{case}");
        }
        let loaded = load(&mut run, &path).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(loaded.outline().state[&0].step, 2, "{case}");
    }
    assert!(partials(folder.path()).is_empty());
}

/// A run with the same process number as a killed one avoids the files that the killed run left.
#[test]
fn names_that_are_taken() {
    let folder = Folder::new("taken");
    let path = folder.path().join("run.safetensors");
    for number in 0..500 {
        let taken = folder.path().join(format!(".run.safetensors.{}-{number}.partial", std::process::id()));
        fs::write(taken, "left").unwrap();
    }
    Run::new().save(&path).unwrap();
    assert_eq!(saved(&path), 1);
    let left = partials(folder.path());
    assert_eq!(left.len(), 500);
    assert!(left.iter().all(|path| fs::read(path).unwrap() == b"left"), "another's file was written to");
}

/// Eight threads save to one path. A concurrent reader always finds a complete file.
#[test]
fn saves_at_the_same_time() {
    const SAVES: u64 = 12;
    let folder = Folder::new("threads");
    let path = folder.path().join("run.safetensors");
    Run::new().save(&path).unwrap();
    std::thread::scope(|scope| {
        let save = || {
            let mut run = Run::new();
            (0..SAVES).for_each(|_| run.save(&path).unwrap());
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(save)).collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            assert!((1..=SAVES).contains(&saved(&path)));
        }
    });
    // The last file comes from the last save of its thread.
    assert_eq!(saved(&path), SAVES);
    assert!(partials(folder.path()).is_empty());
}

/// A state that loading would refuse does not replace a good file, whichever moment is spoiled, unless the caller
/// allows it. An infinite square does not count as spoiled.
#[test]
fn a_spoiled_state_is_not_saved() {
    let folder = Folder::new("finite");
    let path = folder.path().join("run.safetensors");
    let mut run = Run::new();
    run.save(&path).unwrap();
    let good = fs::read(&path).unwrap();
    let piece = run.adam.state(run.adam.find("w").unwrap()).unwrap().pieces[0].clone();
    let write = |run: &Run, moment: u64, value: f32| {
        run.queue.write_buffer(&piece.buffer, moment + 4 * 70_000, &value.to_le_bytes());
    };
    for (key, moment, value) in [
        ("exp_avg", piece.exp_avg, f32::INFINITY),
        ("exp_avg", piece.exp_avg, f32::NAN),
        ("exp_avg_sq", piece.exp_avg_sq, f32::NAN),
        ("exp_avg_sq", piece.exp_avg_sq, -1.0),
    ] {
        write(&run, moment, value);
        let is_told = |error: &Error| match error {
            Error::SpoiledState { tensor, key: own, element: 70_000, count: 1, .. } => {
                value != -1.0 && (tensor.name.as_deref(), *own) == (Some("w"), key)
            }
            Error::Checkpoint(CheckpointError::NotSaved { name, problem: "is negative", element: 70_000, .. }) => {
                value == -1.0 && *name == format!("optimizer.state.w.{key}")
            }
            _ => false,
        };
        let refused = run.save(&path);
        assert!(refused.as_ref().is_err_and(is_told), "{value} in {key}: {refused:?}");
        let refused =
            block_on(run.adam.state_dict()).unwrap().to_safetensors(&CheckpointContents::optimizer_only()).map(drop);
        assert!(refused.as_ref().is_err_and(is_told), "{value} in {key}, a dict: {refused:?}");
        assert!(fs::read(&path).unwrap() == good, "{value} in {key}: the file has changed");
        assert!(partials(folder.path()).is_empty(), "{value} in {key}: the partial file is still there");
        write(&run, moment, 0.0);
    }
    write(&run, piece.exp_avg, f32::NAN);
    block_on(run.adam.save_checkpoint_with(&path, &CheckpointContents::optimizer_only().allow_nonfinite())).unwrap();
    let refused = load(&mut run, &path).map(drop);
    assert!(matches!(refused, Err(Error::SpoiledState { element: 70_000, .. })), "{refused:?}");
    let options = LoadOptions::new().optimizer_only().allow_nonfinite();
    block_on(run.adam.load_from_with(&Checkpoint::open(&path).unwrap(), &options)).unwrap();
    write(&run, piece.exp_avg, 0.0);
    write(&run, piece.exp_avg_sq, f32::INFINITY);
    run.save(&path).unwrap();
    load(&mut run, &path).unwrap();
    assert!(Path::new(&path).exists() && Checkpoint::open(&path).is_ok());
}
