//! Planes: what an optimizer keeps for each element of a tensor, and in which format.
//!
//! This is the only list of torch's state keys. Windows, state dicts, files and copies iterate over it in its order.

/// The format in which a plane stores numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Format {
    F32,
}

impl Format {
    /// The format of parameters and gradients.
    pub(crate) const PARAM: Self = Self::F32;

    /// The size of this many elements in bytes.
    pub(crate) const fn bytes(self, elements: u64) -> u64 {
        match self {
            Self::F32 => elements * 4,
        }
    }

    /// The number of elements in this many bytes.
    pub(crate) const fn elements(self, bytes: u64) -> u64 {
        match self {
            Self::F32 => bytes / 4,
        }
    }
}

/// A plane of state: one number for each element of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Plane {
    /// The running average of the gradient.
    ExpAvg,
    /// The running average of its square.
    ExpAvgSq,
    /// The largest `exp_avg_sq` so far.
    MaxExpAvgSq,
}

impl Plane {
    /// All planes, in their order in a window.
    pub(crate) const ALL: [Self; 3] = [Self::ExpAvg, Self::ExpAvgSq, Self::MaxExpAvgSq];

    /// The key that torch uses.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::ExpAvg => "exp_avg",
            Self::ExpAvgSq => "exp_avg_sq",
            Self::MaxExpAvgSq => "max_exp_avg_sq",
        }
    }

    pub(crate) const fn format(self) -> Format {
        Format::F32
    }

    /// Whether the plane holds averages of squares, which are never negative.
    pub(crate) const fn is_square(self) -> bool {
        !matches!(self, Self::ExpAvg)
    }
}

/// The planes that a tensor's state has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Planes {
    has_max: bool,
}

impl Planes {
    /// The planes of a group with or without amsgrad.
    pub(crate) const fn new(amsgrad: bool) -> Self {
        Self { has_max: amsgrad }
    }

    /// The planes that at least one of the two has.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { has_max: self.has_max || other.has_max }
    }

    pub(crate) fn has(self, plane: Plane) -> bool {
        plane != Plane::MaxExpAvgSq || self.has_max
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Plane> {
        Plane::ALL.into_iter().filter(move |plane| self.has(*plane))
    }

    /// The size of this many elements in all planes together, in bytes.
    pub(crate) fn bytes(self, elements: u64) -> u64 {
        self.iter().map(|plane| plane.format().bytes(elements)).sum()
    }

    /// Where a plane holds an element, in bytes from the start of a window whose planes have `elements` elements.
    /// `None` if the window lacks the plane.
    pub(crate) fn offset(self, plane: Plane, element: u64, elements: u64) -> Option<u64> {
        let before: u64 = self.iter().filter(|other| *other < plane).map(|other| other.format().bytes(elements)).sum();
        self.has(plane).then(|| before + plane.format().bytes(element))
    }

    /// The largest multiple of four elements whose planes together fit into this many bytes.
    pub(crate) fn capacity(self, bytes: u64) -> u64 {
        bytes / self.bytes(1) / 4 * 4
    }
}
