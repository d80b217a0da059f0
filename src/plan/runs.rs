//! Runs: pieces that are stepped as one.

use super::input::{Input, Work};

/// Elements that are adjacent in the parameters, in the gradient and in the state, and share a hyper block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Run {
    /// The first piece: it says where the run begins and what it belongs to.
    pub first: Work,
    /// From the beginning of the first piece to the end of the last one, with the padding between them.
    pub length: u64,
    /// Elements behind the run that stay zero.
    slack: u64,
    pub last_tensor: u32,
    /// The number of pieces in the run.
    pub pieces: u32,
}

/// Merges all pieces that can be merged. Pieces keep their order.
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

/// Finishes the last run. No piece is appended to it later.
fn close(runs: &mut Vec<Run>) {
    if let Some(run) = runs.last_mut() {
        if run.length == 0 {
            runs.pop();
        } else {
            // Extends the run to the end of a quad, if only padding lies there.
            let odd = (4 - (run.first.param.start + run.length) % 4) % 4;
            if odd <= run.slack {
                run.length += odd;
            }
        }
    }
}

impl Run {
    /// Appends a piece that begins where the run ends, or with only padding between. Returns whether it did.
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
