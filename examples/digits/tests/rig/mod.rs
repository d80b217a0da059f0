//! Training runs on every adapter, or on the one that matches `WGPU_ADAPTER_NAME`.

#![allow(dead_code, reason = "each test uses a part")]

#[path = "../../src/terminal/adapters.rs"]
mod adapters;
#[path = "../../src/terminal/blocking.rs"]
mod blocking;

pub use blocking::wait;

use digits::model::PARAMETERS;
use digits::{Dataset, Saved, Trainer, Wanted};
use wgpu_adam::{AdamConfig, GradientControl, TensorState};

pub const STEPS_PER_EPOCH: usize = 23;

/// An adapter's device, and its name.
pub struct Gpu {
    pub name: String,
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
}

/// Fails if there is none.
pub fn gpus() -> Vec<Gpu> {
    let adapters = match std::env::var("WGPU_ADAPTER_NAME") {
        Ok(wanted) => vec![adapters::choose(Some(&wanted)).unwrap()],
        Err(_) => adapters::all(),
    };
    assert!(!adapters.is_empty(), "no adapter");
    let open = |adapter: &wgpu::Adapter| {
        let (device, queue) = adapters::open(adapter).unwrap();
        Gpu { name: adapters::describe(&adapter.get_info()), device, queue }
    };
    adapters.iter().map(open).collect()
}

/// A run and its results so far.
pub struct Run<'a> {
    pub gpu: &'a Gpu,
    pub trainer: Trainer,
    pub losses: Vec<f32>,
}

impl<'a> Run<'a> {
    pub fn new(gpu: &'a Gpu, dataset: &Dataset, control: GradientControl) -> Self {
        let config = AdamConfig { lr: 3e-3, ..AdamConfig::default() };
        let mut trainer = Trainer::new(&gpu.device, &gpu.queue, dataset, config).unwrap();
        trainer.adam().set_gradient_control(control).unwrap();
        Self { gpu, trainer, losses: Vec::new() }
    }

    pub fn step(&mut self) {
        self.trainer.step().unwrap();
        if self.trainer.steps().is_multiple_of(STEPS_PER_EPOCH as u64) {
            self.read();
        }
    }

    pub fn read(&mut self) {
        self.losses.extend(wait(&self.gpu.device, self.trainer.read(Wanted::default())).unwrap().losses);
    }

    pub fn train(mut self, steps: usize) -> Self {
        (0..steps).for_each(|_| self.step());
        self.read();
        self
    }

    pub fn save(&mut self) -> Saved {
        wait(&self.gpu.device, self.trainer.save()).unwrap()
    }

    pub fn accuracy(&mut self) -> f64 {
        let wanted = Wanted { accuracy: true, ..Wanted::default() };
        wait(&self.gpu.device, self.trainer.read(wanted)).unwrap().accuracy.unwrap()
    }
}

/// Parameters and moments, bit for bit.
#[track_caller]
pub fn same_bits(case: &str, got: &Saved, want: &Saved) {
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let tensors = got.parameters.iter().zip(&want.parameters);
    for ((name, _), (got, want)) in PARAMETERS.iter().zip(tensors) {
        assert!(bits(got) == bits(want), "{case}: {name} differs");
    }
    // A parameter whose steps were all skipped may have an entry with zeros.
    let nothing = |entry: &TensorState| {
        entry.step == 0 && entry.exp_avg.iter().chain(&entry.exp_avg_sq).all(|moment| moment.to_bits() == 0)
    };
    let moments = |saved: &Saved| {
        let entries = saved.adam.state.iter().filter(|(_, entry)| !nothing(entry));
        entries.map(|(id, entry)| (*id, entry.step, bits(&entry.exp_avg), bits(&entry.exp_avg_sq))).collect::<Vec<_>>()
    };
    assert!(moments(got) == moments(want), "{case}: the optimizer's state differs");
}
