//! Running commands: the environment of every child process, and how commands and their failures are printed.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

const RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";

/// The folder of the workspace's Cargo.toml.
pub fn workspace_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// Cargo's target folder, in which this program was built.
pub fn target_dir() -> Result<PathBuf> {
    let program = env::current_exe().context("where this program lies")?;
    Ok(program.ancestors().nth(2).context("xtask lies in target/PROFILE")?.to_owned())
}

/// A program in the target folder that a dev-profile build made, such as `examples/quickstart`.
pub fn built(name: &str) -> Result<Command> {
    let file = format!("{name}{}", env::consts::EXE_SUFFIX);
    Ok(command(target_dir()?.join("debug").join(file)))
}

/// A command with the environment that every child process gets.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    // cargo sets this for xtask. A program started without cargo would mistake it for its own.
    command.env_remove("CARGO_MANIFEST_DIR");
    if env::var_os(RUNTIME_DIR).is_none() {
        // Mesa complains on stderr if the folder is missing.
        if let Ok(folder) = target_dir().map(|target| target.join("xdg-runtime")) {
            if fs::create_dir_all(&folder).is_ok() {
                command.env(RUNTIME_DIR, folder);
            }
        }
    }
    command
}

/// The cargo that runs this program, with the arguments, which are split at spaces.
pub fn cargo(arguments: &str) -> Command {
    let mut cargo = command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments.split_whitespace());
    cargo
}

/// Prints the command and runs it with this program's own output. Fails unless the command succeeds.
pub fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", shown(command));
    let status = command.status().with_context(|| format!("could not start `{}`", shown(command)))?;
    ensure!(status.success(), "`{}` failed: {status}", shown(command));
    Ok(())
}

/// Runs the command without printing it and without input, and returns its output.
pub fn capture(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("could not start `{}`", shown(command)))
}

/// Runs the command without printing it. True if it ran and succeeded.
pub fn succeeds(command: &mut Command) -> bool {
    capture(command).is_ok_and(|output| output.status.success())
}

/// Whether a program of this name can be started.
pub fn exists(program: &str) -> bool {
    match command(program).arg("--version").stdin(Stdio::null()).output() {
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
}

/// The command as one would type it.
fn shown(command: &Command) -> String {
    let variables = command
        .get_envs()
        .filter(|(name, _)| *name != RUNTIME_DIR)
        .filter_map(|(name, value)| Some(format!("{}='{}'", name.display(), value?.display())));
    let program = Path::new(command.get_program());
    let program = program.strip_prefix(workspace_root()).unwrap_or(program);
    let program = match program.file_stem() {
        Some(stem) if stem == "cargo" => Path::new("cargo"),
        _ => program,
    };
    let arguments = command.get_args().map(|argument| argument.display().to_string());
    variables.chain([program.display().to_string()]).chain(arguments).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_typed() {
        let mut doc = cargo("doc --no-deps");
        doc.env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(shown(&doc), "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps");
        assert_eq!(shown(command(workspace_root().join("a/b")).arg("c")).replace('\\', "/"), "a/b c");
    }

    #[test]
    fn only_programs_on_this_machine_exist() {
        assert!(exists(&env::var("CARGO").unwrap_or_else(|_| "cargo".into())));
        assert!(!exists("no-such-program-on-any-machine"));
    }
}
