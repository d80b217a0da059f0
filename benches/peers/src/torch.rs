//! torch's Adam on the CPU, in a separate Python process that makes a step on each command (`torch_steps.py`).

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use wgpu_adam_bench::device::Values;

use crate::contender::{Case, Contender, LR, SAMPLE};

const SCRIPT: &str = include_str!("torch_steps.py");
/// The implementations of torch.optim.Adam on the CPU.
pub const PATHS: [&str; 3] = ["fused", "foreach", "for-loop"];

/// A Python with torch.
pub struct Torch {
    child: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    name: String,
}

impl Torch {
    /// Starts Python. The inner error is the reason if Python or torch is missing.
    pub fn start(python: &str) -> Result<Result<Self, String>> {
        let mut command = Command::new(python);
        command.args(["-c", SCRIPT, &LR.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return Ok(Err(format!("{python}: {error}"))),
        };
        let commands = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("no stdout of Python")?);
        let mut torch = Self { child, commands, answers, name: String::new() };
        let first = torch.answer().with_context(|| format!("starting {python}"))?;
        if let Some(reason) = first.strip_prefix("no ") {
            return Ok(Err(format!("{python}: {reason}")));
        }
        let mut words = first.split_whitespace();
        let mut word = || words.next().context("an incomplete greeting of Python");
        let (name, version, threads) = (word()?, word()?, word()?);
        torch.name = format!("{name} {version}, CPU, {threads} threads");
        Ok(Ok(torch))
    }

    fn commands(&mut self) -> Result<&mut ChildStdin> {
        self.commands.as_mut().context("Python is gone")
    }

    fn ask(&mut self, command: &str) -> Result<String> {
        writeln!(self.commands()?, "{command}")?;
        self.answer()
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        ensure!(line.ends_with('\n'), "Python ended, see above");
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Torch {
    fn drop(&mut self) {
        // The process ends at the end of its input.
        self.commands = None;
        let _ = self.child.wait();
    }
}

/// One of torch's implementations.
pub struct Path {
    torch: Rc<RefCell<Torch>>,
    path: &'static str,
}

impl Path {
    /// Makes the optimizer. The inner error is the reason if this torch has no such implementation.
    pub fn new(torch: &Rc<RefCell<Torch>>, path: &'static str, case: Case) -> Result<Result<Self, String>> {
        let values = Values::default();
        let mut python = torch.borrow_mut();
        let commands = python.commands()?;
        writeln!(commands, "make {path} {} {}", case.tensors, case.elements)?;
        for tensor in 0..case.tensors {
            commands.write_all(bytemuck::cast_slice(&case.param(&values, tensor)))?;
        }
        for tensor in 0..case.tensors {
            commands.write_all(bytemuck::cast_slice(&case.grad(&values, tensor)))?;
        }
        let answer = python.answer()?;
        if let Some(reason) = answer.strip_prefix("no ") {
            return Ok(Err(reason.to_owned()));
        }
        ensure!(answer == "ok", "Python answers '{answer}'");
        Ok(Ok(Self { torch: torch.clone(), path }))
    }
}

impl Contender for Path {
    fn name(&self) -> String {
        format!("{}, {}", self.torch.borrow().name, self.path)
    }

    fn step(&mut self) -> Result<f64> {
        Ok(self.torch.borrow_mut().ask(&format!("step {}", self.path))?.parse()?)
    }

    fn sample(&mut self, tensor: usize) -> Result<Option<Vec<f32>>> {
        let answer = self.torch.borrow_mut().ask(&format!("sample {} {tensor} {SAMPLE}", self.path))?;
        let values: Result<Vec<f32>> = answer.split_whitespace().map(|value| Ok(value.parse()?)).collect();
        values.map(Some)
    }
}
