//! Finding adapters and opening devices on them.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, bail};
use wgpu::DownlevelFlags;

use crate::{Skipped, readback::read_f32};

/// Computes with denormal results and operands: a product, a sum, a quotient and a root. The numbers come from a
/// buffer, so that no compiler folds them.
const DENORMALS: &str = "
    @group(0) @binding(0) var<storage, read_write> numbers: array<f32>;
    @compute @workgroup_size(1) fn denormals() {
        let small = numbers[0];
        let denormal = numbers[1];
        numbers[0] = small * small;
        numbers[1] = denormal + denormal;
        numbers[2] = small / numbers[2];
        numbers[3] = sqrt(numbers[3]);
    }";

/// A device, and the facts about it that tests need.
pub struct Gpu {
    /// `BACKEND NAME DRIVER DRIVER_INFO`, see [`describe`].
    pub adapter_name: String,
    pub adapter: wgpu::Adapter,
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    errors: Arc<Mutex<Vec<String>>>,
    keeps_denormals: OnceLock<bool>,
}

impl Gpu {
    /// Opens a device with exactly these limits and no features.
    pub async fn open(adapter: &wgpu::Adapter, required_limits: wgpu::Limits) -> Result<Self> {
        let adapter_name = describe(&adapter.get_info());
        let descriptor = wgpu::DeviceDescriptor { label: Some("test"), required_limits, ..Default::default() };
        let adapter = unused(adapter).await?;
        let (device, queue) =
            adapter.request_device(&descriptor).await.with_context(|| format!("opening a device on {adapter_name}"))?;
        let errors = Arc::new(Mutex::new(Vec::new()));
        let sink = errors.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            sink.lock().unwrap_or_else(PoisonError::into_inner).push(error.to_string());
        }));
        let keeps_denormals = OnceLock::new();
        Ok(Self { adapter_name, adapter, device, queue, errors, keeps_denormals })
    }

    /// Opens a device with everything that the adapter offers.
    pub async fn full(adapter: &wgpu::Adapter) -> Result<Self> {
        Self::open(adapter, adapter.limits()).await
    }

    /// Opens a device with wgpu's default limits, or the adapter's if those are lower.
    pub async fn default_limits(adapter: &wgpu::Adapter) -> Result<Self> {
        Self::open(adapter, wgpu::Limits::default().or_worse_values_from(&adapter.limits())).await
    }

    /// Opens another device of the adapter with these low limits, or the adapter's if those are lower.
    ///
    /// # Errors
    /// [`Skipped`] in a browser, which raises limits below the default to the default.
    pub async fn small(&self, limits: wgpu::Limits) -> Result<Self> {
        let small = Self::open(&self.adapter, limits.or_worse_values_from(&self.adapter.limits())).await?;
        if cfg!(target_family = "wasm") {
            return Err(Skipped("browsers have no devices of small limits".into()).into());
        }
        Ok(small)
    }

    /// Whether shaders compute with denormals; WGSL allows replacing them by zero. Measured once, by a shader.
    pub async fn keeps_denormals(&self) -> Result<bool> {
        if let Some(&known) = self.keeps_denormals.get() {
            return Ok(known);
        }
        let results = self.compute_denormals().await?;
        Ok(*self.keeps_denormals.get_or_init(|| results.iter().all(|&x| x != 0.0)))
    }

    async fn compute_denormals(&self) -> Result<Vec<f32>> {
        use wgpu::BufferUsages as Usage;
        let numbers: [f32; 4] = [1e-20, 1e-40, 1e20, 1e-40];
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("denormals"),
            size: size_of_val(&numbers) as u64,
            usage: Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC,
            mapped_at_creation: false,
        });
        self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&numbers));
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("denormals"),
            source: wgpu::ShaderSource::Wgsl(DENORMALS.into()),
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("denormals"),
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: Default::default(),
            cache: None,
        });
        let bindings = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("denormals"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: buffer.as_entire_binding() }],
        });
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bindings, &[]);
        pass.dispatch_workgroups(1, 1, 1);
        drop(pass);
        self.queue.submit([encoder.finish()]);
        read_f32(self, &buffer, 0, numbers.len() as u64).await
    }

    /// Fails if the device reported an error that no scope caught, and clears the error.
    pub fn check_errors(&self) -> Result<()> {
        let errors = std::mem::take(&mut *self.errors.lock().unwrap_or_else(PoisonError::into_inner));
        if !errors.is_empty() {
            bail!("the device reported {} uncaptured errors:\n{}", errors.len(), errors.join("\n"));
        }
        Ok(())
    }
}

/// All adapters of all backends that support compute shaders.
pub async fn adapters() -> Vec<wgpu::Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let mut found = instance.enumerate_adapters(wgpu::Backends::all()).await;
    found.retain(|adapter| adapter.get_downlevel_capabilities().flags.contains(DownlevelFlags::COMPUTE_SHADERS));
    found
}

/// An adapter that can still open a device. In a browser each adapter opens only one device, but a new request returns
/// a new adapter.
async fn unused(adapter: &wgpu::Adapter) -> Result<wgpu::Adapter> {
    if cfg!(target_family = "wasm") {
        return adapters().await.into_iter().next().context("the browser gives no adapter");
    }
    Ok(adapter.clone())
}

/// `BACKEND NAME DRIVER DRIVER_INFO`. The backend is needed, because Mesa's Vulkan and GL adapters share a name.
pub fn describe(info: &wgpu::AdapterInfo) -> String {
    let backend = format!("{:?}", info.backend);
    let parts = [backend.as_str(), &info.name, &info.driver, &info.driver_info];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The one adapter whose description contains `wanted` (in any case), or the most capable adapter if `wanted` is
/// `None`.
pub fn select(adapters: Vec<wgpu::Adapter>, wanted: Option<&str>) -> Result<wgpu::Adapter> {
    let infos: Vec<_> = adapters.iter().map(wgpu::Adapter::get_info).collect();
    let chosen = choose(&infos, wanted)?;
    adapters.into_iter().nth(chosen).context("the list of adapters changed")
}

/// Whether the description contains `wanted`, in any case.
pub fn matches(info: &wgpu::AdapterInfo, wanted: &str) -> bool {
    describe(info).to_lowercase().contains(&wanted.to_lowercase())
}

fn choose(infos: &[wgpu::AdapterInfo], wanted: Option<&str>) -> Result<usize> {
    let all: Vec<usize> = (0..infos.len()).collect();
    let list = |of: &[usize]| of.iter().map(|&i| format!("\n  {}", describe(&infos[i]))).collect::<String>();
    let Some(wanted) = wanted else {
        let best = all.iter().copied().min_by_key(|&i| rank(&infos[i]));
        return best.context("this machine has no adapter; on Linux, mesa-vulkan-drivers brings a software one");
    };
    let matching: Vec<usize> = all.iter().copied().filter(|&i| matches(&infos[i], wanted)).collect();
    match matching[..] {
        [one] => Ok(one),
        [] => bail!("no adapter matches '{wanted}'; there are:{}", list(&all)),
        _ => bail!("several adapters match '{wanted}', ask for one of:{}", list(&matching)),
    }
}

/// Lower is better: kind of device first, then the backend.
fn rank(info: &wgpu::AdapterInfo) -> (u8, bool) {
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    };
    (kind, info.backend == wgpu::Backend::Gl)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpu::{Backend, DeviceType};

    fn info(device_type: DeviceType, backend: Backend, name: &str) -> wgpu::AdapterInfo {
        wgpu::AdapterInfo { name: name.into(), ..wgpu::AdapterInfo::new(device_type, backend) }
    }

    #[test]
    fn adapters_are_chosen_by_name_or_kind() {
        let infos = [
            info(DeviceType::Cpu, Backend::Vulkan, "llvmpipe (LLVM 15)"),
            info(DeviceType::DiscreteGpu, Backend::Gl, "Big"),
            info(DeviceType::DiscreteGpu, Backend::Vulkan, "Big"),
            info(DeviceType::Cpu, Backend::Gl, "llvmpipe (LLVM 15)"),
        ];
        assert_eq!(choose(&infos, None).unwrap(), 2);
        assert_eq!(choose(&infos, Some("vulkan LLVMpipe")).unwrap(), 0);
        assert_eq!(choose(&infos, Some("gl llvm")).unwrap(), 3);
        let several = choose(&infos, Some("llvmpipe")).unwrap_err().to_string();
        assert!(several.contains("Vulkan llvmpipe") && several.contains("Gl llvmpipe"), "{several}");
        let none = choose(&infos, Some("metal")).unwrap_err().to_string();
        assert!(none.contains("Gl Big"), "{none}");
        assert!(choose(&[], None).is_err());
    }
}
