//! The optimizer: its fields, its constructors, and the plan of its next step.

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
/// At step t, for a parameter p with gradient g, and with the options of [`AdamConfig`], in torch's order:
///
/// ```text
/// maximize                    g = -g
/// L2 weight decay (Adam)      g = g + weight_decay p
/// decoupled decay (AdamW)     p = p - lr weight_decay p
/// exp_avg                     m = beta1 m + (1 - beta1) g
/// exp_avg_sq                  v = beta2 v + (1 - beta2) g^2
/// max_exp_avg_sq              u = max(u, v) with amsgrad, else v
/// param                       p = p - lr / (1 - beta1^t) * m / (sqrt(u) / sqrt(1 - beta2^t) + eps)
/// ```
///
/// m, v and u begin at 0, and t at 1. This crate multiplies numerator and denominator of the last line by sqrt(1 -
/// beta2^t), which leaves one square root and one division for each element:
///
/// ```text
/// p = p - lr sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(u) + eps sqrt(1 - beta2^t))
/// ```
///
/// Factors that depend on t alone are computed in f64 and rounded to f32 once. A decoupled decay is subtracted together
/// with the update, in one rounding. What [`GradientControl`](crate::GradientControl) does to gradients comes before
/// all this.
///
/// Owns its state: 8 bytes for each element, 12 with amsgrad. Holds cheap clones of the device, the queue and the
/// buffers. So it has no lifetime, is `Send + Sync` on native targets, can be dropped at any moment, and shares a
/// device with other optimizers.
///
/// Submit steps in the order in which they were recorded. If an encoder is dropped unsubmitted, its steps are counted
/// but never run.
///
/// The caller must avoid what the optimizer cannot detect:
///
/// - Buffers of another [`wgpu::Instance`]. wgpu mistakes them for other buffers, or panics.
/// - A queue of another device than the one given with it.
/// - Buffers that are destroyed or mapped while steps are recorded with them, and encoders that are invalid or have an
///   open pass. The submit fails.
/// - Writes of the caller into an arena's padding.
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
    /// Marks this optimizer's parameter ids, so that ids of other optimizers are refused.
    id: u32,
    /// For options that a group does not set.
    defaults: AdamConfig,
    registry: Registry,
    stepper: Stepper,
    control: Control,
    copies: Copies,
}

static NEXT_ID: AtomicU32 = AtomicU32::new(1);

impl WgpuAdam {
    /// Creates an optimizer over parameters, which form one group, or over groups. There may be no parameters yet.
    /// `config` supplies the options that a group does not set, for these groups and for groups added later.
    ///
    /// Allocates the state. Compiles the shaders that the parameters need, unless an optimizer on the device already
    /// has them. Submits nothing and waits for nothing. On software adapters the first dispatch compiles once more. In
    /// a browser, [`ready`](Self::ready) reports whether the device could create everything.
    ///
    /// # Errors
    /// Options out of range; buffers too small, of the wrong usage or misaligned; parameters that overlap; a name given
    /// twice; names for some parameters only; a device with too small limits; out of memory; a lost device.
    pub fn new(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        params: impl Into<ParamGroups>,
        config: AdamConfig,
    ) -> Result<Self, Error> {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Self::build(id, Gpu::new(device, queue, &format!("wgpu_adam {id}")), params.into(), config)
    }

    /// Like [`new`](Self::new), with a label. In GPU debuggers, the names of the optimizer's passes, dispatches and
    /// buffers begin with it. Default: `wgpu_adam` and a number.
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

    /// Plans the next step now and creates everything it needs, so that an error is returned now.
    fn prepare(&mut self) -> Result<(), Error> {
        self.stepper.prepare(&mut self.registry, &mut self.control)
    }

    /// Returns the limits to open a device with: those of [`wgpu::Limits::downlevel_defaults`], which every adapter
    /// with compute shaders has: 4 storage and 2 uniform buffers a stage are used of them. An application merges them into its own with [`wgpu::Limits::or_better_values_from`].
    ///
    /// With a larger `max_storage_buffer_binding_size` and `max_buffer_size`, models of more than 16 million elements
    /// need fewer dispatches. Smaller limits work as well, down to bindings of 1 KiB and workgroups of 32 invocations.
    #[must_use]
    pub fn required_limits() -> wgpu::Limits {
        wgpu::Limits::downlevel_defaults()
    }

    /// Waits until the device has created everything requested so far. On native targets everything exists already, and
    /// the future is done at once.
    ///
    /// # Errors
    /// In a browser, errors that constructors and `record_step` could not return at once: out of memory, a lost device.
    pub async fn ready(&self) -> Result<(), Error> {
        self.stepper.gpu.guard.ready().await
    }
}

impl std::fmt::Debug for WgpuAdam {
    /// Prints a summary: the numbers of groups, parameters, elements and bytes of state, and the steps taken.
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
