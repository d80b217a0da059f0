//! `state_dict`: the state copied to the host.

use std::collections::BTreeMap;

use crate::Error;
use crate::optimizer::WgpuAdam;
use crate::readback::{Readback, Source};
use crate::state_dict::{StateDict, StateGroup, TensorState};

/// What is copied of a parameter: its id, its entry without moments, the pieces of each moment.
struct Snapshot {
    id: u64,
    entry: TensorState,
    moments: [Option<Vec<Source>>; 3],
}

impl WgpuAdam {
    /// The optimizer's state on the host, as torch's `state_dict()`.
    ///
    /// The state is copied when this is called, by a submit of its own, behind all that was submitted before; the future
    /// waits for the copy, borrows nothing, and later steps do not disturb it. Native: the future polls the device
    /// itself. Needs as much memory as the state, for staging, until the future is done.
    ///
    /// # Errors
    /// [`UnsubmittedSteps`](Error::UnsubmittedSteps) if recorded steps were not submitted before the call (an encoder
    /// that was dropped is not noticed: its steps stay counted); no memory; a lost device.
    pub fn state_dict(&self) -> impl Future<Output = Result<StateDict, Error>> + use<> {
        let copy = self.snapshot();
        async move {
            let (mut dict, snapshots, readback) = copy?;
            let bytes = readback.bytes().await?;
            let mut rest = bytes.as_slice();
            let mut take = |sources: Option<Vec<Source>>| {
                let size: u64 = sources?.iter().map(|source| source.size).sum();
                let (moment, behind) = rest.split_at_checked(size as usize)?;
                rest = behind;
                // The bytes may lie at any address.
                Some(bytemuck::pod_collect_to_vec(moment))
            };
            for Snapshot { id, entry, moments: [exp_avg, exp_avg_sq, max_exp_avg_sq] } in snapshots {
                let (exp_avg, exp_avg_sq) = (take(exp_avg), take(exp_avg_sq));
                let entry = TensorState {
                    exp_avg: exp_avg.unwrap_or_default(),
                    exp_avg_sq: exp_avg_sq.unwrap_or_default(),
                    max_exp_avg_sq: take(max_exp_avg_sq),
                    ..entry
                };
                dict.state.insert(id, entry);
            }
            Ok(dict)
        }
    }

    /// Begins the copy: the dict without moments, and what they will be made of.
    fn snapshot(&self) -> Result<(StateDict, Vec<Snapshot>, Readback), Error> {
        let mut dict = StateDict { state: BTreeMap::new(), param_groups: Vec::new() };
        let mut snapshots = Vec::new();
        let mut next_id = 0;
        for group in &self.registry.groups {
            let first = next_id;
            let mut names = Vec::new();
            for &param in &group.params {
                let tensor = self.tensor(param)?;
                names.extend(tensor.name.clone());
                if tensor.step > 0 {
                    let entry = TensorState { step: tensor.step, shape: tensor.shape.clone(), ..Default::default() };
                    let pieces = self.state(param)?.pieces;
                    let source = |offset: u64, buffer: &wgpu::Buffer, length: u64| Source {
                        buffer: buffer.clone(),
                        offset,
                        size: length * 4,
                    };
                    let moment = |plane: usize| {
                        let of = |p: &crate::state::StatePiece| {
                            p.planes().get(plane).copied().flatten().map(|offset| source(offset, &p.buffer, p.length))
                        };
                        pieces.iter().map(of).collect::<Option<Vec<Source>>>()
                    };
                    let max_exp_avg_sq = if self.registry.has_max_exp_avg_sq(param.index) { moment(2) } else { None };
                    snapshots.push(Snapshot { id: next_id, entry, moments: [moment(0), moment(1), max_exp_avg_sq] });
                }
                next_id += 1;
            }
            let names = (!names.is_empty()).then_some(names);
            dict.param_groups.push(StateGroup::new(&group.config, (first..next_id).collect(), names));
        }
        let sources: Vec<Source> =
            snapshots.iter().flat_map(|s| s.moments.iter().flatten().flatten().cloned()).collect();
        let readback = Readback::new(&self.gpu, &sources, self.slots.outstanding())?;
        Ok((dict, snapshots, readback))
    }
}
