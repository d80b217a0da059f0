//! Saves without a GPU, each distinguishable from the others.

use std::fs;
use std::path::{Path, PathBuf};

use pollster::block_on;
use wgpu_adam::{AdamConfig, Checkpoint, CheckpointContents, CheckpointTensor, Error, Param, WgpuAdam, wgpu};

/// Number of elements, large enough that writing them takes some time.
const ELEMENTS: usize = 100_000;

/// An optimizer on the noop device, and checkpoints that contain the number of their save.
pub struct Run {
    pub adam: WgpuAdam,
    #[allow(dead_code, reason = "not every test writes to the state")]
    pub queue: wgpu::Queue,
    saves: u64,
}

impl Run {
    pub fn new() -> Self {
        let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
        let buffer = || {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: 4 * ELEMENTS as u64,
                usage: wgpu::BufferUsages::STORAGE,
                mapped_at_creation: false,
            })
        };
        let param = Param::new("w", [ELEMENTS], &buffer(), &buffer());
        let adam = WgpuAdam::new(&device, &queue, [param], AdamConfig::default()).unwrap();
        Self { adam, queue, saves: 0 }
    }

    /// A step, and a checkpoint of it whose tensor `mark` holds the number of the save in every element.
    pub fn save(&mut self, path: &Path) -> Result<(), Error> {
        self.saves += 1;
        self.adam.step().unwrap();
        let mark = CheckpointTensor::f32([ELEMENTS], &vec![self.saves as f32; ELEMENTS])?;
        let contents = CheckpointContents::optimizer_only()
            .with_tensor("mark", mark)
            .with_metadata("save", self.saves.to_string());
        block_on(self.adam.save_checkpoint_with(path, &contents))
    }
}

/// The number of the save that wrote a file. All elements must agree.
pub fn saved(path: &Path) -> u64 {
    let checkpoint = Checkpoint::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let save: u64 = checkpoint.metadata()["save"].parse().unwrap();
    let dict = checkpoint.state_dict().unwrap();
    assert_eq!(dict.state[&0].step, save, "the step count of save {save}");
    assert_eq!(dict.state[&0].exp_avg.len(), ELEMENTS);
    let mark = checkpoint.tensor("mark").unwrap().to_f32().unwrap();
    assert!(mark.len() == ELEMENTS && mark.iter().all(|value| *value == save as f32), "a file of two saves");
    save
}

pub fn partials(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "partial")).collect()
}
