//! A parameter group of a running optimizer, and the ids of its parameters.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use std::sync::OnceLock;

use crate::options::adam::AdamConfig;

/// Identifies a parameter of an optimizer. [`find`](crate::WgpuAdam::find) and
/// [`param_groups`](crate::WgpuAdam::param_groups) return it, and methods about one parameter take it. Valid as long as
/// the optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId {
    pub(crate) optimizer: u32,
    pub(crate) index: u32,
}

impl Display for ParamId {
    /// The parameter's number in its optimizer.
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "parameter {}", self.index)
    }
}

/// A parameter group of a running optimizer, as [`param_groups`](crate::WgpuAdam::param_groups) returns it.
#[derive(Clone)]
pub struct Group {
    pub(crate) config: AdamConfig,
    /// Entries of a loaded state dict that are not options, as JSON.
    pub(crate) extra: BTreeMap<String, String>,
    optimizer: u32,
    /// The parameters' numbers in ascending order. Removed ones are only marked, so that a removal costs no more in a
    /// large group than in a small one.
    members: Vec<u32>,
    removed: usize,
    /// Computed from `members` on demand.
    params: OnceLock<Vec<ParamId>>,
}

/// The bit that marks a removed member.
const REMOVED: u32 = 1 << 31;

impl Group {
    pub(crate) fn new(config: AdamConfig, optimizer: u32) -> Self {
        let (extra, members, params) = (BTreeMap::new(), Vec::new(), OnceLock::new());
        Self { config, extra, optimizer, members, removed: 0, params }
    }

    /// The options now in force.
    #[must_use]
    pub fn config(&self) -> &AdamConfig {
        &self.config
    }

    /// The parameters, in the order in which they were given.
    #[must_use]
    pub fn params(&self) -> &[ParamId] {
        self.params.get_or_init(|| {
            let members = self.members.iter().filter(|member| **member & REMOVED == 0);
            members.map(|&index| ParamId { optimizer: self.optimizer, index }).collect()
        })
    }

    /// The number of parameters.
    pub(crate) fn len(&self) -> usize {
        self.members.len() - self.removed
    }

    /// Adds a parameter. Its number must be above all others.
    pub(crate) fn add(&mut self, number: u32) {
        self.members.push(number);
        self.params.take();
    }

    pub(crate) fn remove(&mut self, number: u32) {
        let Ok(at) = self.members.binary_search_by_key(&number, |member| member & !REMOVED) else { return };
        let Some(member) = self.members.get_mut(at).filter(|member| **member & REMOVED == 0) else { return };
        *member |= REMOVED;
        self.removed += 1;
        if self.removed * 2 > self.members.len() {
            self.members.retain(|member| member & REMOVED == 0);
            self.removed = 0;
        }
        self.params.take();
    }
}

impl PartialEq for Group {
    /// Compares the options, the parameters and the extra entries.
    fn eq(&self, other: &Self) -> bool {
        (self.config, self.params(), &self.extra) == (other.config, other.params(), &other.extra)
    }
}

impl std::fmt::Debug for Group {
    /// The options and the parameters.
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group").field("config", &self.config).field("params", &self.params()).finish_non_exhaustive()
    }
}
