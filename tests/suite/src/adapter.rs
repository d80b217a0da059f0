//! Finding adapters and opening devices on them.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};

/// A device with what a test needs to know about it.
pub struct Gpu {
    /// `BACKEND NAME DRIVER DRIVER_INFO`, see [`describe`].
    pub adapter_name: String,
    pub adapter: wgpu::Adapter,
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    errors: Arc<Mutex<Vec<String>>>,
}

impl Gpu {
    /// Opens a device with exactly these limits and no features.
    pub async fn open(adapter: &wgpu::Adapter, required_limits: wgpu::Limits) -> Result<Self> {
        let adapter_name = describe(&adapter.get_info());
        let descriptor = wgpu::DeviceDescriptor { label: Some("test"), required_limits, ..Default::default() };
        let (device, queue) =
            adapter.request_device(&descriptor).await.with_context(|| format!("opening a device on {adapter_name}"))?;
        let errors = Arc::new(Mutex::new(Vec::new()));
        let sink = errors.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            sink.lock().unwrap_or_else(PoisonError::into_inner).push(error.to_string());
        }));
        Ok(Self { adapter_name, adapter: adapter.clone(), device, queue, errors })
    }

    /// A device with all that the adapter offers.
    pub async fn full(adapter: &wgpu::Adapter) -> Result<Self> {
        Self::open(adapter, adapter.limits()).await
    }

    /// A device with wgpu's default limits, or the adapter's where those are lower.
    pub async fn default_limits(adapter: &wgpu::Adapter) -> Result<Self> {
        Self::open(adapter, wgpu::Limits::default().or_worse_values_from(&adapter.limits())).await
    }

    /// Fails if the device reported an error that no scope caught, and forgets it.
    pub fn check_errors(&self) -> Result<()> {
        let errors = std::mem::take(&mut *self.errors.lock().unwrap_or_else(PoisonError::into_inner));
        if !errors.is_empty() {
            bail!("the device reported {} uncaptured errors:\n{}", errors.len(), errors.join("\n"));
        }
        Ok(())
    }
}

/// All adapters of all backends.
pub async fn adapters() -> Vec<wgpu::Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    instance.enumerate_adapters(wgpu::Backends::all()).await
}

/// `BACKEND NAME DRIVER DRIVER_INFO`. The backend belongs to it: Mesa's Vulkan and GL adapters share a name.
pub fn describe(info: &wgpu::AdapterInfo) -> String {
    let backend = format!("{:?}", info.backend);
    let parts = [backend.as_str(), &info.name, &info.driver, &info.driver_info];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The one adapter whose description contains `wanted` (in any case), or without it the most capable one.
pub fn select(adapters: Vec<wgpu::Adapter>, wanted: Option<&str>) -> Result<wgpu::Adapter> {
    let infos: Vec<_> = adapters.iter().map(wgpu::Adapter::get_info).collect();
    let chosen = choose(&infos, wanted)?;
    adapters.into_iter().nth(chosen).context("the list of adapters changed")
}

/// True where the description contains `wanted`, in any case.
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
