//! Plots as SVG, drawn here: lines over axes that may be logarithmic, and bars with the range of the quartiles.
//!
//! No background and middle tones, so that they can be read on a light page and on a dark one.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::report::number;

/// A plot; its name is part of the name of its file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Plot {
    /// Lines.
    Lines(Lines),
    /// Bars.
    Bars(Bars),
}

impl From<Lines> for Plot {
    fn from(lines: Lines) -> Plot {
        Plot::Lines(lines)
    }
}

impl From<Bars> for Plot {
    fn from(bars: Bars) -> Plot {
        Plot::Bars(bars)
    }
}

/// An axis.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Axis {
    /// What is along it, with its unit.
    pub label: String,
    /// By powers of ten.
    pub log: bool,
}

impl Axis {
    /// Even steps from 0.
    pub fn even(label: &str) -> Axis {
        Axis { label: label.to_owned(), log: false }
    }

    /// Powers of ten.
    pub fn log(label: &str) -> Axis {
        Axis { label: label.to_owned(), log: true }
    }
}

/// A line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Series {
    /// What it is of.
    pub name: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// Lines over two axes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are what they are called")]
pub struct Lines {
    pub name: String,
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
}

/// A bar for each row: its label, its length, and the range of the quartiles.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are what they are called")]
pub struct Bars {
    pub name: String,
    pub title: String,
    /// What the bars are long by, with its unit.
    pub x: Axis,
    pub rows: Vec<(String, f64, f64, f64)>,
}

const WIDTH: f64 = 720.0;
const INK: &str = "#7d8590";
const COLOURS: [&str; 8] =
    ["#2f81d7", "#d9730d", "#2f9e5b", "#c2408f", "#8a63d2", "#a8871c", "#1a9ba1", "#cf4c4c"];

impl Plot {
    /// For the name of its file.
    pub fn name(&self) -> &str {
        match self {
            Plot::Lines(plot) => &plot.name,
            Plot::Bars(plot) => &plot.name,
        }
    }

    /// What it shows.
    pub fn title(&self) -> &str {
        match self {
            Plot::Lines(plot) => &plot.title,
            Plot::Bars(plot) => &plot.title,
        }
    }

    /// As SVG.
    pub fn svg(&self) -> String {
        match self {
            Plot::Lines(plot) => plot.svg(),
            Plot::Bars(plot) => plot.svg(),
        }
    }
}

/// From a value to a place between `from` and `to`.
struct Scale {
    is_log: bool,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn new(axis: &Axis, values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Scale {
        let values = values.filter(|value| value.is_finite() && (!axis.log || *value > 0.0));
        let high = values.clone().fold(f64::MIN, f64::max);
        let low = values.fold(f64::MAX, f64::min);
        let (low, high) = if low > high { (1.0, 10.0) } else { (low, high) };
        if axis.log {
            let (low, mut high) = (low.log10().floor(), high.log10().ceil());
            if high <= low {
                high = low + 1.0;
            }
            return Scale { is_log: true, low, high, from, to };
        }
        let high = if high > 0.0 { high * 1.05 } else { 1.0 };
        Scale { is_log: false, low: 0.0, high, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let value = if self.is_log { value.max(1e-12).log10() } else { value };
        let share = (value - self.low) / (self.high - self.low);
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Where lines are drawn across: values.
    fn ticks(&self) -> Vec<f64> {
        if self.is_log {
            let (low, high) = (self.low as i32, self.high as i32);
            return (low..=high).map(|power| 10f64.powi(power)).collect();
        }
        let rough = self.high / 5.0;
        let unit = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * unit).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        (0..=10).map(|n| f64::from(n) * step).take_while(|value| *value <= self.high).collect()
    }
}

/// The label of a tick: 10k, 1M.
fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", number(value / 1e6)),
        value if value >= 1e4 => format!("{}k", number(value / 1e3)),
        value if value >= 1.0 => number(value),
        value => format!("{}", (value * 1e6).round() / 1e6),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A picture that grows.
struct Picture(String);

impl Picture {
    fn new(title: &str, height: f64) -> Picture {
        let title = escaped(title);
        Picture(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n<title>{title}</title>\n\
             <text x=\"12\" y=\"20\" fill=\"{INK}\" font-size=\"14\" font-weight=\"bold\">{title}</text>\n"
        ))
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Into a String: nothing can fail.
        let _written = writeln!(self.0, "{element}").is_ok();
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let text = escaped(text);
        self.add(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{INK}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), opacity: f64) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.add(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{INK}\" \
             stroke-opacity=\"{opacity}\"/>"
        ));
    }

    fn done(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }
}

impl Lines {
    fn svg(&self) -> String {
        let legend = 18.0 * self.series.len() as f64;
        let (left, right, top, bottom) = (78.0, WIDTH - 24.0, 40.0, 340.0);
        let mut picture = Picture::new(&self.title, bottom + 58.0 + legend);
        let points = || self.series.iter().flat_map(|series| series.points.iter());
        let x = Scale::new(&self.x, points().map(|point| point.0), left, right);
        let y = Scale::new(&self.y, points().map(|point| point.1), bottom, top);
        for tick in x.ticks() {
            picture.line((x.at(tick), top), (x.at(tick), bottom), 0.2);
            picture.text(x.at(tick), bottom + 16.0, "middle", &short(tick));
        }
        for tick in y.ticks() {
            picture.line((left, y.at(tick)), (right, y.at(tick)), 0.2);
            picture.text(left - 6.0, y.at(tick) + 4.0, "end", &short(tick));
        }
        picture.line((left, bottom), (right, bottom), 1.0);
        picture.line((left, bottom), (left, top), 1.0);
        picture.text((left + right) / 2.0, bottom + 34.0, "middle", &self.x.label);
        let label = escaped(&self.y.label);
        let middle = (top + bottom) / 2.0;
        picture.add(format_args!(
            "<text x=\"16\" y=\"{middle}\" fill=\"{INK}\" text-anchor=\"middle\" \
             transform=\"rotate(-90 16 {middle})\">{label}</text>"
        ));
        for (series, (n, colour)) in self.series.iter().zip(COLOURS.iter().cycle().enumerate()) {
            let path: Vec<String> = series
                .points
                .iter()
                .map(|point| format!("{:.1},{:.1}", x.at(point.0), y.at(point.1)))
                .collect();
            picture.add(format_args!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                path.join(" ")
            ));
            for point in &series.points {
                let (cx, cy) = (x.at(point.0), y.at(point.1));
                picture
                    .add(format_args!("<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3\" fill=\"{colour}\"/>"));
            }
            let row = bottom + 58.0 + 18.0 * n as f64;
            picture.add(format_args!(
                "<rect x=\"{left}\" y=\"{:.1}\" width=\"14\" height=\"4\" fill=\"{colour}\"/>",
                row - 6.0
            ));
            picture.text(left + 22.0, row, "start", &series.name);
        }
        picture.done()
    }
}

impl Bars {
    fn svg(&self) -> String {
        let longest = self.rows.iter().map(|row| row.0.chars().count()).max().unwrap_or_default();
        let left = (20.0 + 6.8 * longest as f64).min(WIDTH / 2.0);
        let (right, top) = (WIDTH - 70.0, 40.0);
        let bottom = top + 24.0 * self.rows.len() as f64;
        let mut picture = Picture::new(&self.title, bottom + 46.0);
        let ends = || self.rows.iter().flat_map(|row| [row.1, row.2, row.3]);
        let x = Scale::new(&self.x, ends(), left, right);
        for tick in x.ticks() {
            picture.line((x.at(tick), top), (x.at(tick), bottom), 0.2);
            picture.text(x.at(tick), bottom + 16.0, "middle", &short(tick));
        }
        picture.text((left + right) / 2.0, bottom + 34.0, "middle", &self.x.label);
        for (n, (label, middle, low, high)) in self.rows.iter().enumerate() {
            let row = top + 24.0 * n as f64;
            let (end, low, high) = (x.at(*middle), x.at(*low), x.at(*high));
            picture.text(left - 8.0, row + 16.0, "end", label);
            let width = end - left;
            let colour = COLOURS[0];
            picture.add(format_args!(
                "<rect x=\"{left:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"14\" fill=\"{colour}\"/>",
                row + 5.0
            ));
            picture.line((low, row + 12.0), (high, row + 12.0), 1.0);
            picture.text(high.max(end) + 6.0, row + 16.0, "start", &number(*middle));
        }
        picture.line((left, top), (left, bottom), 1.0);
        picture.done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_their_axes_their_units_and_their_names() {
        let plot = Plot::from(Lines {
            name: "publish".into(),
            title: "Publish < writers".into(),
            x: Axis::log("writers"),
            y: Axis::even("records/s"),
            series: vec![
                Series { name: "naive".into(), points: vec![(1.0, 2000.0), (64.0, 10_000.0)] },
                Series { name: "shared".into(), points: vec![(1.0, 2000.0), (64.0, 20_000.0)] },
            ],
        });
        let svg = plot.svg();
        for part in
            ["Publish &lt; writers", ">writers<", ">records/s<", ">naive<", ">shared<", ">100<", ">20k<"]
        {
            assert!(svg.contains(part), "{part}\n{svg}");
        }
        assert!(!svg.contains("NaN"));
    }

    #[test]
    fn a_plot_without_points_is_still_one() {
        let x = Axis::log("µs");
        let bars = Bars { name: "b".into(), title: "B".into(), x, rows: vec![("a".into(), 1.0, 1.0, 1.0)] };
        assert!(Plot::from(bars).svg().ends_with("</svg>\n"));
        let lines = Lines {
            name: "l".into(),
            title: "L".into(),
            x: Axis::even("x"),
            y: Axis::even("y"),
            series: Vec::new(),
        };
        assert!(!Plot::from(lines).svg().contains("NaN"));
    }
}
