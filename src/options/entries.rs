//! The one list of a group's options, by torch's keys: for groups that set some of them, state dicts and files.

use crate::options::adam::AdamConfig;

/// The options that are set; `None` for the others.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Entries {
    pub lr: Option<f64>,
    pub betas: Option<(f64, f64)>,
    pub eps: Option<f64>,
    pub weight_decay: Option<f64>,
    pub amsgrad: Option<bool>,
    pub maximize: Option<bool>,
    pub decoupled_weight_decay: Option<bool>,
}

/// The value of an option.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    Number(f64),
    Pair((f64, f64)),
    Flag(bool),
}

/// An option by its key, with its place among the entries.
pub(crate) enum Entry<'a> {
    Number(&'static str, &'a mut Option<f64>),
    Pair(&'static str, &'a mut Option<(f64, f64)>),
    Flag(&'static str, &'a mut Option<bool>),
}

impl Entry<'_> {
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::Number(key, _) | Self::Pair(key, _) | Self::Flag(key, _) => key,
        }
    }

    pub(crate) fn value(&self) -> Option<Value> {
        match self {
            Self::Number(_, value) => value.map(Value::Number),
            Self::Pair(_, value) => value.map(Value::Pair),
            Self::Flag(_, value) => value.map(Value::Flag),
        }
    }
}

impl Entries {
    /// All options with their keys. An option that is not in this list does not compile.
    pub(crate) fn each(&mut self) -> [Entry<'_>; 7] {
        let Self { lr, betas, eps, weight_decay, amsgrad, maximize, decoupled_weight_decay } = self;
        [
            Entry::Number("lr", lr),
            Entry::Number("eps", eps),
            Entry::Number("weight_decay", weight_decay),
            Entry::Pair("betas", betas),
            Entry::Flag("amsgrad", amsgrad),
            Entry::Flag("maximize", maximize),
            Entry::Flag("decoupled_weight_decay", decoupled_weight_decay),
        ]
    }

    /// The options of a group, with those of `defaults` where none is set.
    pub(crate) fn over(self, defaults: &AdamConfig) -> AdamConfig {
        AdamConfig {
            lr: self.lr.unwrap_or(defaults.lr),
            betas: self.betas.unwrap_or(defaults.betas),
            eps: self.eps.unwrap_or(defaults.eps),
            weight_decay: self.weight_decay.unwrap_or(defaults.weight_decay),
            amsgrad: self.amsgrad.unwrap_or(defaults.amsgrad),
            maximize: self.maximize.unwrap_or(defaults.maximize),
            decoupled_weight_decay: self.decoupled_weight_decay.unwrap_or(defaults.decoupled_weight_decay),
        }
    }
}

impl From<&AdamConfig> for Entries {
    /// All options, set.
    fn from(config: &AdamConfig) -> Self {
        let &AdamConfig { lr, betas, eps, weight_decay, amsgrad, maximize, decoupled_weight_decay } = config;
        Self {
            lr: Some(lr),
            betas: Some(betas),
            eps: Some(eps),
            weight_decay: Some(weight_decay),
            amsgrad: Some(amsgrad),
            maximize: Some(maximize),
            decoupled_weight_decay: Some(decoupled_weight_decay),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Entries, Entry, Value};
    use crate::options::adam::AdamConfig;

    /// Each option goes through the list to its own place and back, and none is left out.
    #[test]
    fn every_option_has_its_place() {
        let config = AdamConfig {
            lr: 0.5,
            betas: (0.25, 0.125),
            eps: 0.75,
            weight_decay: 0.375,
            amsgrad: true,
            maximize: true,
            decoupled_weight_decay: true,
        };
        let (mut all, mut copy) = (Entries::from(&config), Entries::default());
        for (from, to) in all.each().into_iter().zip(copy.each()) {
            assert_eq!(from.key(), to.key());
            match (from.value().unwrap(), to) {
                (Value::Number(value), Entry::Number(_, to)) => *to = Some(value),
                (Value::Pair(value), Entry::Pair(_, to)) => *to = Some(value),
                (Value::Flag(value), Entry::Flag(_, to)) => *to = Some(value),
                (value, _) => panic!("{value:?}"),
            }
        }
        assert_eq!(copy.over(&AdamConfig::default()), config);
        assert_eq!(Entries::default().over(&config), config);
    }
}
