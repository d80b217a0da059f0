//! The contenders, and measuring them in turns.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use wgpu_adam_bench::device::Values;
use wgpu_adam_bench::rounds::Rounds;

/// The pause between two contenders. Waiting threads of the last one may still spin, as OpenMP's do, and must not slow
/// down the next one.
const PAUSE: Duration = Duration::from_millis(5);
/// Elements of a tensor that are compared at the end.
pub const SAMPLE: usize = 1024;

/// The learning rate of all contenders; the other options are torch's defaults.
pub const LR: f64 = 1e-3;

/// The tensors to step.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub tensors: usize,
    pub elements: usize,
}

impl Case {
    /// A parameter's initial values: the same for all contenders, and the same as the benchmark's.
    pub fn param(self, values: &Values, tensor: usize) -> Vec<f32> {
        values.of(2 * tensor).iter().copied().cycle().take(self.elements).collect()
    }

    /// A gradient's values, the same at every step.
    pub fn grad(self, values: &Values, tensor: usize) -> Vec<f32> {
        values.of(2 * tensor + 1).iter().copied().cycle().take(self.elements).collect()
    }
}

pub trait Contender {
    fn name(&self) -> String;

    /// Runs before a step and is not timed.
    fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    /// One step over all tensors, complete when this returns. Returns milliseconds.
    fn step(&mut self) -> Result<f64>;

    /// The first `SAMPLE` elements of a parameter; `None` if the contender is no Adam.
    fn sample(&mut self, tensor: usize) -> Result<Option<Vec<f32>>>;
}

/// Alternates the contenders. Returns each contender's milliseconds, round by round. The first rounds do not count,
/// because adapters and burn compile then.
pub fn measure(rounds: Rounds, contenders: &mut [Box<dyn Contender + '_>]) -> Result<Vec<Vec<f64>>> {
    let mut times = vec![Vec::new(); contenders.len()];
    let mut begin = Instant::now();
    for round in 0..rounds.warm_up + rounds.most {
        if round == rounds.warm_up {
            begin = Instant::now();
        }
        if round >= rounds.warm_up + rounds.least && begin.elapsed() > rounds.time {
            break;
        }
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            sleep(PAUSE);
            contender.prepare()?;
            let time = contender.step()?;
            if round >= rounds.warm_up {
                times.push(time);
            }
        }
    }
    Ok(times)
}

/// Fails unless all contenders that are an Adam have made the same steps: after `steps` steps, all parameters must be
/// where Adam moves them.
pub fn check(case: Case, steps: usize, contenders: &mut [Box<dyn Contender + '_>]) -> Result<()> {
    let values = Values::default();
    // With a constant gradient each step has the length of the learning rate, apart from eps.
    let way = LR * steps as f64;
    for tensor in [0, case.tensors - 1] {
        let (before, grad) = (case.param(&values, tensor), case.grad(&values, tensor));
        for contender in &mut *contenders {
            let name = contender.name();
            let got = contender.sample(tensor).with_context(|| format!("reading what {name} made"))?;
            let Some(got) = got else { continue };
            ensure!(got.len() == SAMPLE.min(case.elements), "{name} gave {} elements", got.len());
            for (element, got) in got.into_iter().enumerate() {
                let want = f64::from(before[element]) - way * f64::from(grad[element].signum());
                ensure!(
                    (f64::from(got) - want).abs() < 1e-3 * way,
                    "{name} did not make {steps} steps: tensor {tensor}, element {element}: {got}, want {want}"
                );
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: Case = Case { name: "test", tensors: 2, elements: 8 };

    /// Adam with a constant gradient. If `lazy`, it never steps its last tensor.
    struct Fake {
        steps: [usize; 2],
        lazy: bool,
    }

    impl Contender for Fake {
        fn name(&self) -> String {
            "fake".into()
        }

        fn step(&mut self) -> Result<f64> {
            self.steps[0] += 1;
            self.steps[1] += usize::from(!self.lazy);
            Ok(1.0)
        }

        fn sample(&mut self, tensor: usize) -> Result<Option<Vec<f32>>> {
            let values = Values::default();
            let way = LR as f32 * self.steps[tensor] as f32;
            let param = CASE.param(&values, tensor).into_iter().zip(CASE.grad(&values, tensor));
            Ok(Some(param.map(|(param, grad)| param - way * grad.signum()).collect()))
        }
    }

    #[test]
    fn rounds_are_counted_and_whoever_leaves_a_tensor_out_is_told() {
        let rounds = Rounds { placements: 1, warm_up: 2, least: 3, most: 3, time: Duration::ZERO };
        for lazy in [false, true] {
            let mut contenders: Vec<Box<dyn Contender>> = vec![Box::new(Fake { steps: [0; 2], lazy })];
            assert_eq!(measure(rounds, &mut contenders).unwrap(), [[1.0; 3]]);
            assert_eq!(check(CASE, 5, &mut contenders).is_err(), lazy);
            assert!(check(CASE, 6, &mut contenders).is_err(), "an additional step was not noticed");
        }
    }
}
