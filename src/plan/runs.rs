//! Runs: pieces that can be stepped as one.

use super::input::{Input, Work};

/// Elements that lie in a row in the parameters, in the gradient and in the state, and share a hyper block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Run {
    /// The first piece, for where the run begins and what it belongs to.
    pub first: Work,
    /// From the first piece's beginning, over padding between pieces, to the last one's end.
    pub length: u64,
    /// Elements behind the run that stay zero.
    slack: u64,
    pub last_tensor: u32,
    /// How many tensors, or pieces of them, it holds.
    pub pieces: u32,
}

/// Merges all that may be merged. Pieces keep their order.
pub(crate) fn merge(input: &Input) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for work in &input.work {
        let over_padding = input.classes.get(work.class as usize).is_some_and(|class| class.padding_stays_zero);
        let slack = if over_padding { work.padding } else { 0 };
        let merged = runs.last_mut().is_some_and(|run| run.append(work, slack));
        if !merged {
            close(&mut runs);
            runs.push(Run { first: *work, length: work.length, slack, last_tensor: work.tensor, pieces: 1 });
        }
    }
    close(&mut runs);
    runs
}

/// Finishes the last run: nothing will follow it.
fn close(runs: &mut Vec<Run>) {
    if let Some(run) = runs.last_mut() {
        if run.length == 0 {
            runs.pop();
        } else {
            // To the end of a quad, if that is padding.
            let odd = (4 - (run.first.param.start + run.length) % 4) % 4;
            if odd <= run.slack {
                run.length += odd;
            }
        }
    }
}

impl Run {
    /// Takes in a piece that begins where the run ends, or behind padding only.
    fn append(&mut self, work: &Work, slack: u64) -> bool {
        let first = &self.first;
        let same = (work.class, work.window, work.param.buffer, work.grad.buffer)
            == (first.class, first.window, first.param.buffer, first.grad.buffer);
        let distance = |from: u64, to: u64| to.checked_sub(from);
        let length = distance(first.param.start, work.param.start);
        let in_step =
            length == distance(first.grad.start, work.grad.start) && length == distance(first.moment, work.moment);
        match length {
            Some(length) if same && in_step && length >= self.length && length - self.length <= self.slack => {
                self.length = length + work.length;
                self.slack = slack;
                self.last_tensor = work.tensor;
                self.pieces += 1;
                true
            }
            _ => false,
        }
    }
}
