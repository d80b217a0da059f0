//! The command line.

use std::num::NonZero;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::gradients::Gradients;

pub const USAGE: &str = "\
Usage: cargo run --release -p digits -- [OPTIONS]

Options:
      --adapter TEXT    use the adapter whose backend, name or driver contains TEXT, e.g. 'Vulkan llvmpipe'
      --list-adapters   print the adapters and exit
      --epochs N        visit the training set N times [default: 40]
      --lr X            Adam's learning rate [default: 0.003]
      --clip-norm X     scale gradients down to a norm of X over all of them
      --loss-scale S    multiply the loss by S in the backward pass: none [default], a number, dynamic (from 65536), or
                        dynamic:FIRST; dynamic skips steps that overflow, and then lowers the scale
      --accumulate N    cut each batch of 64 into N micro-batches, from 1 [default] to 64, and sum their gradients
      --output FOLDER   where to write the picture and the record of the run [default: target/digits]
      --checkpoint FILE write checkpoints to FILE; Ctrl-C then saves and exits with code 130
      --save-every N    also write one every N steps; one is always written on Ctrl-C and at the end
      --resume          continue from FILE with its learning rate; other options must be given again
  -h, --help            print this and exit";

/// The settings of the program.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    pub adapter: Option<String>,
    pub list_adapters: bool,
    pub help: bool,
    pub epochs: usize,
    pub lr: f64,
    pub gradients: Gradients,
    pub output: Option<PathBuf>,
    pub checkpoint: Option<PathBuf>,
    pub save_every: Option<u64>,
    pub resume: bool,
}

impl Options {
    /// Parses the arguments after the program's name; `--lr 0.1` and `--lr=0.1` are the same.
    pub fn parse(arguments: impl IntoIterator<Item = String>, epochs: usize, lr: f64) -> Result<Self> {
        let mut options = Self {
            adapter: None,
            list_adapters: false,
            help: false,
            epochs,
            lr,
            gradients: Gradients::default(),
            output: None,
            checkpoint: None,
            save_every: None,
            resume: false,
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let (name, inline_value) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let is_flag = matches!(name, "--list-adapters" | "--help" | "-h" | "--resume");
            if is_flag && inline_value.is_some() {
                bail!("{name} takes no value");
            }
            let mut value =
                || inline_value.clone().or_else(|| arguments.next()).with_context(|| format!("{name} needs a value"));
            match name {
                "--adapter" => options.adapter = Some(value()?),
                "--epochs" => options.epochs = number(name, &value()?)?,
                "--lr" => options.lr = number(name, &value()?)?,
                "--clip-norm" => options.gradients.set_clip_norm(&value()?)?,
                "--loss-scale" => options.gradients.set_loss_scale(&value()?)?,
                "--accumulate" => options.gradients.set_accumulate(&value()?)?,
                "--output" => options.output = Some(value()?.into()),
                "--checkpoint" => options.checkpoint = Some(value()?.into()),
                "--save-every" => options.save_every = Some(number::<NonZero<u64>>(name, &value()?)?.get()),
                "--resume" => options.resume = true,
                "--list-adapters" => options.list_adapters = true,
                "--help" | "-h" => options.help = true,
                _ => bail!("unknown argument '{argument}'\n\n{USAGE}"),
            }
        }
        if options.checkpoint.is_none() && (options.resume || options.save_every.is_some()) {
            bail!("--save-every and --resume need --checkpoint FILE");
        }
        Ok(options)
    }
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text.parse().with_context(|| format!("{name}: '{text}' does not fit"))
}

#[cfg(test)]
mod tests {
    use super::{Gradients, Options};

    fn parse(arguments: &[&str]) -> anyhow::Result<Options> {
        Options::parse(arguments.iter().map(|argument| (*argument).to_owned()), 40, 0.003)
    }

    #[test]
    fn values_follow_or_are_joined() {
        let options = parse(&["--lr=0.1", "--epochs", "3", "--adapter", "Vulkan llvmpipe"]).unwrap();
        assert_eq!((options.lr, options.epochs), (0.1, 3));
        assert_eq!(options.adapter.as_deref(), Some("Vulkan llvmpipe"));
        let options = parse(&["--clip-norm", "1e-1", "--loss-scale=dynamic", "--accumulate", "4"]).unwrap();
        let expected = Gradients { clip_norm: Some(0.1), loss_scale: wgpu_adam::LossScale::dynamic(), accumulate: 4 };
        assert_eq!(options.gradients, expected);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let no_steps = &["--checkpoint", "a", "--save-every", "0"];
        for arguments in
            [&["--lr"][..], &["--epochs", "-1"], &["--help=yes"], &["--batch", "64"], &["--resume"], no_steps]
        {
            assert!(parse(arguments).is_err(), "{arguments:?}");
        }
    }
}
