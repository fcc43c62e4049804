//! Figures of a benchmark, one JSON object a line.

use serde_json::{Value, json};

/// A measured value, and what to hold it against.
#[derive(Clone, Debug)]
pub struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    against: Option<(&'static str, f64)>,
}

impl Figure {
    #[must_use]
    pub fn new(name: &str, value: f64, unit: &'static str) -> Figure {
        Figure {
            name: name.into(),
            value,
            unit,
            against: None,
        }
    }

    /// Holds it against a peer or a floor; the ratio is this figure over that one.
    #[must_use]
    pub fn against(mut self, what: &'static str, value: f64) -> Figure {
        self.against = Some((what, value));
        self
    }

    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut figure = json!({ "name": self.name, "value": round(self.value), "unit": self.unit });
        if let Some((what, value)) = self.against {
            figure[what] = json!(round(value));
            if value > 0.0 {
                figure["ratio"] = json!(round(self.value / value));
            }
        }
        figure
    }
}

/// Three figures after the point.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The middle value; of an even number the lower of the two.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which this part of the values lies.
#[must_use]
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    // An index by counting, as there is no lossless way from a fraction to one.
    let total: f64 = sorted.iter().map(|_| 1.0).sum();
    let mut seen = 0.0;
    for value in &sorted {
        seen += 1.0;
        if seen >= total * part {
            return *value;
        }
    }
    f64::NAN
}

#[cfg(test)]
mod tests {
    use super::{Figure, median, quantile};

    #[test]
    fn the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((quantile(&[4.0, 3.0, 2.0, 1.0], 1.0) - 4.0).abs() < 1e-9);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_ratio() {
        let figure = Figure::new("x", 3.0, "us").against("floor", 2.0).to_json();
        assert_eq!(
            figure.to_string(),
            r#"{"floor":2.0,"name":"x","ratio":1.5,"unit":"us","value":3.0}"#
        );
    }
}
