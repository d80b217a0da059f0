//! The optimizer: what it holds, and how it is made ready to record.

mod admission;
#[cfg(feature = "safetensors")]
pub(crate) mod checkpoint;
mod gradient_control;
pub(crate) mod gradients;
mod groups;
mod learning_rate;
mod loading;
mod options;
mod saving;
pub(crate) mod state;
mod statistics;
mod step;
pub(crate) mod surgery;

use std::sync::atomic::{AtomicU32, Ordering};

use crate::control::Control;
use crate::device::gpu::Gpu;
use crate::device::limits::check_limits;
use crate::error::Error;
use crate::options::adam::AdamConfig;
use crate::record::stepper::Stepper;
use crate::registry::Registry;
use crate::tensors::group::ParamGroups;
use crate::transfer::copying::Copies;

/// torch.optim.Adam over tensors in the caller's buffers, recorded into the caller's encoder.
///
/// Owns its state (8 bytes an element, 12 with amsgrad) and cheap clones of the device, the queue and the buffers: it
/// has no lifetime, is `Send + Sync` on native, can be dropped at any moment, and shares a device with others.
///
/// Steps must be submitted in the order in which they were recorded. An encoder that is dropped unsubmitted leaves its
/// step counted and not made.
///
/// What the optimizer cannot see is the caller's to avoid: buffers of another [`wgpu::Instance`] (wgpu takes one for
/// another or panics), a queue of another device than the one given with it, buffers destroyed or mapped while steps are
/// recorded with them and encoders in which a pass is open or invalid (the submit fails), and writes of the caller's own
/// into an arena's padding.
///
/// ```no_run
/// # fn demo(device: &wgpu::Device, queue: &wgpu::Queue, forward_and_backward: impl Fn(&mut wgpu::CommandEncoder))
/// # -> Result<(), wgpu_adam::Error> {
/// use wgpu_adam::{AdamConfig, TensorArena, WgpuAdam, ZeroGrad, wgpu};
///
/// let arena = TensorArena::new(device, [("layer0.weight", vec![128, 64]), ("layer0.bias", vec![128])])?;
/// let mut adam = WgpuAdam::new(device, queue, arena.params(), AdamConfig { lr: 3e-3, ..Default::default() })?;
/// for step in 0..1000 {
///     adam.set_lr(0, 3e-3 * 0.999_f64.powi(step))?;
///     let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
///     adam.record_zero_grad(&mut encoder, ZeroGrad::Fill)?;
///     forward_and_backward(&mut encoder);
///     adam.record_step(&mut encoder)?;
///     queue.submit([encoder.finish()]);
/// }
/// # Ok(()) }
/// ```
pub struct WgpuAdam {
    /// Tells this optimizer's parameter ids from another's.
    id: u32,
    /// For options that a group does not set itself.
    defaults: AdamConfig,
    registry: Registry,
    stepper: Stepper,
    control: Control,
    copies: Copies,
}

static NEXT_ID: AtomicU32 = AtomicU32::new(1);

impl WgpuAdam {
    /// Makes an optimizer over parameters (one group) or groups. `config` is for options that a group does not set
    /// itself, now and for groups added later. There may be no parameters yet.
    ///
    /// Allocates the state, compiles what the parameters need and no optimizer on the device has yet, and waits for
    /// nothing. On software adapters the first dispatch compiles once more. In a browser, [`ready`](Self::ready) tells
    /// whether the device could do it.
    ///
    /// # Errors
    /// Options out of range; buffers too small, of the wrong usage or misaligned; parameters
    /// that overlap; names given twice, or to some and not to others; a device opened with too small limits.
    pub fn new(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        params: impl Into<ParamGroups>,
        config: AdamConfig,
    ) -> Result<Self, Error> {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Self::build(id, Gpu::new(device, queue, &format!("wgpu_adam {id}")), params.into(), config)
    }

    /// As [`new`](Self::new), with a label: what GPU debuggers call its passes, dispatches and buffers begins with it. By
    /// default that is `wgpu_adam` and a number.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn with_label(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        params: impl Into<ParamGroups>,
        config: AdamConfig,
        label: &str,
    ) -> Result<Self, Error> {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Self::build(id, Gpu::new(device, queue, label), params.into(), config)
    }

    fn build(id: u32, gpu: Gpu, params: ParamGroups, config: AdamConfig) -> Result<Self, Error> {
        check_limits(&gpu.device.limits())?;
        config.validate(None)?;
        let stepper = Stepper::new(gpu)?;
        let (registry, control, copies) = (Registry::default(), Control::default(), Copies::default());
        let mut adam = Self { id, defaults: config, registry, stepper, control, copies };
        adam.register(params.0)?;
        adam.prepare()?;
        Ok(adam)
    }

    /// Makes the plan of the next step now, so that what it needs is there, or the error is.
    fn prepare(&mut self) -> Result<(), Error> {
        self.stepper.prepare(&mut self.registry, &mut self.control)
    }

    /// Limits to open a device with: those of [`wgpu::Limits::downlevel_defaults`], which any adapter with compute
    /// shaders has. An application merges them into its own by [`wgpu::Limits::or_better_values_from`].
    ///
    /// Larger `max_storage_buffer_binding_size` and `max_buffer_size` make for fewer dispatches on models of more than
    /// 16 M parameters. Smaller ones work as well, down to bindings of 1 KiB and workgroups of 32.
    #[must_use]
    pub fn required_limits() -> wgpu::Limits {
        wgpu::Limits::downlevel_defaults()
    }

    /// Waits until the device has made all that was asked of it so far. Native: it has, and nothing waits.
    ///
    /// # Errors
    /// In a browser, what constructors and `record_step` could not tell at once: no memory, a lost device.
    pub async fn ready(&self) -> Result<(), Error> {
        self.stepper.gpu.guard.ready().await
    }
}

impl std::fmt::Debug for WgpuAdam {
    /// A summary: how much there is, and how far it has come.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tensors = || self.registry.tensors().map(|(_, tensor)| tensor);
        let windows = self.registry.windows().iter().flatten();
        f.debug_struct("WgpuAdam")
            .field("label", &self.stepper.gpu.label)
            .field("groups", &self.registry.groups.len())
            .field("params", &tensors().count())
            .field("elements", &tensors().map(|tensor| tensor.length).sum::<u64>())
            .field("state_bytes", &windows.map(|window| window.layout.bytes()).sum::<u64>())
            .field("steps", &tensors().map(|tensor| tensor.step).max().unwrap_or(0))
            .finish_non_exhaustive()
    }
}
