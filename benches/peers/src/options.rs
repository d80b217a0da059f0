//! The command line.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

pub const USAGE: &str = "\
usage: cargo xtask bench --peers [--adapter S] [--python PROGRAM] [--json FILE] [--quick] [--list-adapters]
  --adapter S        the adapter whose description contains S, in any case; else the most capable one
  --python PROGRAM   the Python with torch; else python3
  --json FILE        also write all measurements to FILE
  --quick            three rounds: shows that it works, not how fast it is
  --list-adapters    print the descriptions of the adapters and do nothing else";

#[derive(Debug)]
pub struct Options {
    pub adapter: Option<String>,
    pub python: String,
    pub json: Option<PathBuf>,
    pub quick: bool,
    pub list_adapters: bool,
    pub help: bool,
}

impl Options {
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self> {
        let python = if cfg!(windows) { "python" } else { "python3" }.to_owned();
        let mut options = Self { adapter: None, python, json: None, quick: false, list_adapters: false, help: false };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value\n{USAGE}"));
            match argument.as_str() {
                "--adapter" => options.adapter = Some(value()?),
                "--python" => options.python = value()?,
                "--json" => options.json = Some(value()?.into()),
                "--quick" => options.quick = true,
                "--list-adapters" => options.list_adapters = true,
                "--help" | "-h" => options.help = true,
                _ => bail!("what is '{argument}'?\n{USAGE}"),
            }
        }
        Ok(options)
    }
}
