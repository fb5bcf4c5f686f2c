//! From a row of the table to an instrument of OpenTelemetry.
//! What is observed and is gone at the next reading is shown no more: a Channel that was removed is in no state.

use opentelemetry::metrics::{AsyncInstrument, Counter, Histogram, Meter, UpDownCounter};

use crate::Instrument;

impl Instrument {
    /// A counter that is added to.
    pub fn counter(&self, meter: &Meter) -> Counter<u64> {
        meter.u64_counter(self.name).with_description(self.about).with_unit(self.unit).build()
    }

    /// A gauge that is added to and taken from.
    pub fn level(&self, meter: &Meter) -> UpDownCounter<i64> {
        meter.i64_up_down_counter(self.name).with_description(self.about).with_unit(self.unit).build()
    }

    /// A histogram.
    pub fn histogram(&self, meter: &Meter) -> Histogram<f64> {
        let builder = meter.f64_histogram(self.name).with_description(self.about).with_unit(self.unit);
        builder.with_boundaries(self.bounds.to_vec()).build()
    }

    /// A counter that `read` says when somebody asks.
    pub fn counted(&self, meter: &Meter, read: impl Fn(&dyn AsyncInstrument<u64>) + Send + Sync + 'static) {
        let builder =
            meter.u64_observable_counter(self.name).with_description(self.about).with_unit(self.unit);
        builder.with_callback(read).build();
    }

    /// The same with a fraction.
    pub fn counted_f64(
        &self,
        meter: &Meter,
        read: impl Fn(&dyn AsyncInstrument<f64>) + Send + Sync + 'static,
    ) {
        let builder =
            meter.f64_observable_counter(self.name).with_description(self.about).with_unit(self.unit);
        builder.with_callback(read).build();
    }

    /// A gauge that `read` says when somebody asks.
    pub fn gauged(&self, meter: &Meter, read: impl Fn(&dyn AsyncInstrument<u64>) + Send + Sync + 'static) {
        let builder = meter.u64_observable_gauge(self.name).with_description(self.about).with_unit(self.unit);
        builder.with_callback(read).build();
    }

    /// The same with a fraction.
    pub fn gauged_f64(
        &self,
        meter: &Meter,
        read: impl Fn(&dyn AsyncInstrument<f64>) + Send + Sync + 'static,
    ) {
        let builder = meter.f64_observable_gauge(self.name).with_description(self.about).with_unit(self.unit);
        builder.with_callback(read).build();
    }
}
