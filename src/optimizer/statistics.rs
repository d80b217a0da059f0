//! Statistics of steps: the latest that have arrived, or those of the last submitted step.

use crate::control::statistics::StepStatistics;
use crate::error::Error;
use crate::layout::State;
use crate::optimizer::WgpuAdam;
use crate::transfer::readback::{Readback, Source};

impl WgpuAdam {
    /// Returns the latest statistics that have arrived from the device; `None` if none have arrived, or if steps make
    /// none. Steps make statistics where a [`GradientControl`](crate::GradientControl) clips or measures the norm, or may
    /// skip steps. Never waits. Statistics arrive some steps late, when the application submits or polls (native), or lets
    /// the browser's event loop run. At most 8 steps' statistics are on their way at once; steps recorded meanwhile make
    /// none.
    pub fn latest_statistics(&mut self) -> Option<StepStatistics> {
        self.control.controller.as_mut().and_then(|controller| controller.statistics.collect())
    }

    /// Submits a copy when it is called, and returns the statistics of the last submitted step. The future waits for
    /// the copy and borrows nothing.
    ///
    /// # Errors
    /// [`NoStatistics`](Error::NoStatistics) if no step was recorded while the norm of gradients was clipped or
    /// measured, or steps might be skipped; otherwise as for [`state_dict`](Self::state_dict).
    pub fn statistics(&self) -> impl Future<Output = Result<StepStatistics, Error>> + use<> {
        let copy = self.copy_statistics();
        async move {
            let mut bytes = Vec::new();
            copy?
                .for_each(|part| {
                    bytes.extend_from_slice(part);
                    Ok(())
                })
                .await?;
            bytes.resize(size_of::<State>(), 0);
            Ok(StepStatistics::new(&bytemuck::pod_read_unaligned(&bytes)))
        }
    }

    fn copy_statistics(&self) -> Result<Readback, Error> {
        let controller = self.control.controller.as_ref().filter(|_| self.control.recorded > 0);
        let state = &controller.ok_or(Error::NoStatistics)?.state;
        self.read_back(vec![Source { buffer: state.clone(), offset: 0, size: size_of::<State>() as u64 }])
    }
}
