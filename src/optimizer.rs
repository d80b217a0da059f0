//! The optimizer: what it holds, and how it is made ready to record.

#[cfg(feature = "safetensors")]
pub(crate) mod checkpoint;
mod gradient_control;
pub(crate) mod gradients;
mod groups;
mod limits;
mod loading;
mod options;
mod saving;
pub(crate) mod state;
mod statistics;
mod step;
pub(crate) mod surgery;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::control::Control;
use crate::device::gpu::Gpu;
use crate::error::Error;
use crate::kernels::Kernels;
use crate::layout::Hyper;
use crate::options::adam::AdamConfig;
use crate::plan::Limits;
use crate::record::clears::Clear;
use crate::record::prepared::Prepared;
use crate::record::slots::Slots;
use crate::registry::Registry;
use crate::registry::buffers::Buffers;
use crate::tensors::group::ParamGroups;
use crate::transfer::copying::Copying;
use saving::STAGING;

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
#[derive(Debug)]
pub struct WgpuAdam {
    pub(crate) gpu: Gpu,
    /// Tells this optimizer's parameter ids from another's, and names it in labels.
    pub(crate) number: u32,
    pub(crate) defaults: AdamConfig,
    pub(crate) registry: Registry,
    pub(crate) buffers: Buffers,
    pub(crate) kernels: Arc<Kernels>,
    pub(crate) slots: Slots,
    pub(crate) limits: Limits,
    pub(crate) control: Control,
    pub(crate) prepared: Prepared,
    /// Whether parameters, gradients or options may have changed since `prepared` was made.
    pub(crate) stale: bool,
    /// Whether options have changed of which the plan needs to know only if groups were alike and are no more.
    pub(crate) options_changed: bool,
    /// The ranges that zero_grad clears, until gradients change.
    pub(crate) clears: Option<Vec<Clear>>,
    /// Bytes of staging buffers for copies of the state.
    pub(crate) staging: u64,
    /// Whether a copy of the state needs it to stay as it is.
    pub(crate) copying: Copying,
}

static OPTIMIZERS: AtomicU32 = AtomicU32::new(1);

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
        let limits = device.limits();
        limits::check_limits(&limits)?;
        config.validate(None)?;
        let groups = params.into().0;
        let gpu = Gpu::new(device, queue);
        let kernels = Kernels::of(&gpu)?;
        let limits = Limits {
            // Elements are counted in u32 in shaders, four at a time.
            binding: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size).min(1 << 31),
            alignment: u64::from(limits.min_storage_buffer_offset_alignment).max(256),
            workgroups: limits.max_compute_workgroups_per_dimension,
            workgroup_size: kernels.workgroup_size,
            sharing: kernels.sharing,
            hyper_alignment: limits.min_uniform_buffer_offset_alignment.max(256) / size_of::<Hyper>() as u32,
        };
        let mut adam = Self {
            gpu,
            number: OPTIMIZERS.fetch_add(1, Ordering::Relaxed),
            defaults: config,
            registry: Registry::default(),
            buffers: Buffers::default(),
            kernels,
            slots: Slots::new(),
            limits,
            control: Control::default(),
            prepared: Prepared::default(),
            stale: false,
            options_changed: false,
            clears: None,
            staging: STAGING,
            copying: Copying::default(),
        };
        adam.register(groups)?;
        adam.prepare()?;
        Ok(adam)
    }

    /// Waits until the device has made all that was asked of it so far. Native: it has, and nothing waits.
    ///
    /// # Errors
    /// In a browser, what constructors and `record_step` could not tell at once: no memory, a lost device.
    pub async fn ready(&self) -> Result<(), Error> {
        self.gpu.guard.ready().await
    }
}
