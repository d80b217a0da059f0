//! The screen that a page sees.

/// The color scheme that the page sees (`prefers-color-scheme`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Light,
    Dark,
}

/// The window that a page sees, in CSS pixels, and the color scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    pub width: u32,
    pub height: u32,
    pub scheme: Scheme,
    /// A phone: it has touch input and applies the viewport's meta tag.
    pub phone: bool,
}

impl Look {
    /// A laptop.
    pub const WIDE: Self = Self { width: 1280, height: 900, scheme: Scheme::Light, phone: false };
    /// A phone held upright.
    pub const NARROW: Self = Self { width: 390, height: 844, scheme: Scheme::Light, phone: true };

    /// The same in dark colors.
    pub const fn dark(self) -> Self {
        Self { scheme: Scheme::Dark, ..self }
    }
}
