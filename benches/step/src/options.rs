//! The command line.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

pub const USAGE: &str = "\
usage: cargo xtask bench [--adapter S] [--rows S] [--json FILE] [--quick] [--list-adapters]
  --adapter S   only adapters whose description contains S, in any case ('noop': only the host's costs)
  --rows S      only rows whose name contains S, without the host's costs
  --json FILE   also write all measurements to FILE
  --quick       three rounds and only small rows: shows that it works, not how fast it is
  --list-adapters   print the descriptions of the adapters and do nothing else";

#[derive(Debug, Default)]
pub struct Options {
    pub adapter: Option<String>,
    pub rows: Option<String>,
    pub json: Option<PathBuf>,
    pub quick: bool,
    pub list_adapters: bool,
    pub help: bool,
}

impl Options {
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut options = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value\n{USAGE}"));
            match argument.as_str() {
                "--adapter" => options.adapter = Some(value()?),
                "--rows" => options.rows = Some(value()?),
                "--json" => options.json = Some(value()?.into()),
                "--quick" => options.quick = true,
                "--list-adapters" => options.list_adapters = true,
                "--help" | "-h" => options.help = true,
                _ => bail!("what is '{argument}'?\n{USAGE}"),
            }
        }
        Ok(options)
    }

    /// Whether the options select the device with this description.
    pub fn wants(&self, description: &str) -> bool {
        let contains = |wanted: &String| description.to_lowercase().contains(&wanted.to_lowercase());
        self.adapter.as_ref().is_none_or(contains)
    }
}

#[cfg(test)]
mod tests {
    use super::Options;

    fn parse(line: &str) -> anyhow::Result<Options> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read() {
        let options = parse("--adapter SwiftShader --quick --rows 2^22 --json a.json").unwrap();
        assert!(options.rows.as_deref() == Some("2^22"));
        assert!(options.quick && options.json.is_some_and(|file| file.ends_with("a.json")));
        let chosen = parse("--adapter SwiftShader").unwrap();
        assert!(chosen.wants("Vulkan swiftshader device") && !chosen.wants("Vulkan llvmpipe"));
        assert!(parse("").unwrap().wants("anything"));
        for wrong in ["--json", "--rows", "--fast", "quick"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
