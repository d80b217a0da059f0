//! What a user gets: the packaged crate, in a program of its own that is made as the README says.
//!
//! Files that the package lacks, dependencies that the README does not name and a version that is not the package's all
//! show here, and nowhere else: every other step sees the whole repository.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::adapters::unattended;
use crate::report::Outcome;
use crate::run::{capture, cargo, command, exists, run, succeeds, target_dir};

/// The crate on crates.io.
const PACKAGE: &str = "wgpu-adam";

/// What is added to the README's dependencies. The feature is for the second program. Both programs are built with it,
/// because wgpu would be compiled twice else.
const MANIFEST: &str = r#"
[package]
name = "program"
version = "0.0.0"
edition = "2024"

[features]
default = ["wgpu-adam/safetensors"]

# Short compile times: wgpu and all below it are compiled for this program alone. The usual 256 units cost a fifth more.
[profile.dev]
debug = false
incremental = false
codegen-units = 4

[workspace]
"#;

/// Packages the library, and builds and runs two programs with the package: the README's and `examples/resume.rs`.
pub fn programs() -> Result<Outcome> {
    if !exists("tar") {
        return Ok(Outcome::NotDone("there is no tar, which unpacks the package".to_owned()));
    }
    let readme = fs::read_to_string("README.md").context("README.md")?;
    let found = (block(&readme, "toml", "[dependencies]"), block(&readme, "rust", "fn main("));
    let (Some(dependencies), Some(program)) = found else {
        let reason = "README.md lacks a toml block with [dependencies] or a rust block with fn main";
        if unattended() {
            bail!(reason);
        }
        return Ok(Outcome::NotDone(reason.to_owned()));
    };
    let folder = target_dir()?.join("packaged");
    let dependencies = with_path(&dependencies)?;
    unpack(&folder)?;

    let (manifest, sources) = (folder.join("program/Cargo.toml"), folder.join("program/src/bin"));
    fs::create_dir_all(&sources)?;
    fs::write(&manifest, format!("{dependencies}{MANIFEST}"))?;
    fs::write(sources.join("readme.rs"), program)?;
    fs::copy("examples/resume.rs", sources.join("resume.rs"))?;
    // With the versions of the workspace, which are downloaded already.
    fs::copy("Cargo.lock", folder.join("program/Cargo.lock"))?;
    let offline = succeeds(cargo("tree --offline --manifest-path").arg(&manifest));
    let mut build = cargo("build --manifest-path");
    build.arg(&manifest).arg("--target-dir").arg(folder.join("target"));
    run(if offline { build.arg("--offline") } else { &mut build })?;
    let built = |name: &str| command(folder.join(format!("target/debug/{name}{}", std::env::consts::EXE_SUFFIX)));
    let output = capture(&mut built("readme"))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    print!("{printed}");
    ensure!(output.status.success(), "the README's program failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    ensure!(readme.contains(printed.trim()), "the README does not say that its program prints {printed}");
    run(&mut built("resume"))?;
    Ok(Outcome::Done)
}

/// Packages the library and unpacks it to `folder/wgpu-adam`.
fn unpack(folder: &Path) -> Result<()> {
    let (packed, unpacked) = (folder.join("package"), folder.join(PACKAGE));
    for old in [&packed, &unpacked] {
        if old.exists() {
            fs::remove_dir_all(old)?;
        }
    }
    let mut package = cargo("package --offline --quiet --no-verify --allow-dirty --package");
    run(package.args([PACKAGE, "--target-dir"]).arg(folder))?;
    let entries = fs::read_dir(&packed)?.collect::<Result<Vec<_>, _>>()?;
    let is_crate = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "crate");
    let package = entries.into_iter().map(|entry| entry.path()).find(is_crate).context("cargo made no package")?;
    fs::create_dir_all(&unpacked)?;
    // `m` dates the files now. The dates in a package are always the same, and cargo would take new files for old ones.
    run(command("tar").arg("-xmzf").arg(package).args(["--strip-components", "1", "-C"]).arg(unpacked))
}

/// The first code block of this language that contains the text.
fn block(markdown: &str, language: &str, text: &str) -> Option<String> {
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let code: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let code = code.join("\n") + "\n";
        if info.split(',').next() == Some(language) && code.contains(text) {
            return Some(code);
        }
    }
    None
}

/// The dependencies, with this package taken from its folder. Cargo compares the version with the package's.
fn with_path(dependencies: &str) -> Result<String> {
    let path = format!("path = \"../{PACKAGE}\"");
    let mut found = false;
    let mut line = |line: &str| {
        let value = line.strip_prefix(PACKAGE).map(str::trim_start).and_then(|rest| rest.strip_prefix('='));
        let Some(value) = value.map(|value| value.split('#').next().unwrap_or_default().trim()) else {
            return line.to_owned();
        };
        found = true;
        match value.strip_prefix('{').and_then(|table| table.strip_suffix('}')) {
            Some(table) => format!("{PACKAGE} = {{ {path}, {} }}", table.trim()),
            None => format!("{PACKAGE} = {{ {path}, version = {value} }}"),
        }
    };
    let lines: Vec<String> = dependencies.lines().map(&mut line).collect();
    ensure!(found, "the README's dependencies are without {PACKAGE}");
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::{block, with_path};

    #[test]
    fn blocks_are_found_by_language_and_content() {
        let text = "Text\n```toml\na = 1\n```\n```rust,no_run\nfn part() {}\n```\n```rust\nfn main() {}\n// end\n```\n";
        assert_eq!(block(text, "rust", "fn main(").as_deref(), Some("fn main() {}\n// end\n"));
        assert_eq!(block(text, "rust", "fn ").as_deref(), Some("fn part() {}\n"));
        assert_eq!(block(text, "toml", "a").as_deref(), Some("a = 1\n"));
        assert_eq!(block(text, "sh", ""), None);
    }

    #[test]
    fn the_package_is_taken_from_its_folder() {
        let path = |line: &str| with_path(&format!("[dependencies]\n{line}\nwgpu = \"30\"\n")).unwrap();
        let with = |table: &str| {
            format!("[dependencies]\nwgpu-adam = {{ path = \"../wgpu-adam\", {table} }}\nwgpu = \"30\"\n")
        };
        assert_eq!(path("wgpu-adam = \"0.1\" # a remark"), with("version = \"0.1\""));
        let table = "version = \"0.1\", features = [\"safetensors\"]";
        assert_eq!(path(&format!("wgpu-adam = {{ {table} }}")), with(table));
        assert!(with_path("[dependencies]\nwgpu = \"30\"\n").is_err());
    }
}
