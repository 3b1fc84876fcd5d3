//! What a caller may change between two batches: labels, context, weights.
use super::Sampler;
use crate::{error::Error, nn::ParameterSource, value::TensorType};

impl Sampler {
    /// Sets the class labels of the next batches, one an image: of the network if it takes any, and of
    /// the classifier that guides.
    ///
    /// # Errors
    /// If neither takes any, or another number of them, or has not so many classes.
    pub fn set_labels(&mut self, labels: &[u32]) -> Result<(), Error> {
        let own = self.condition.labels;
        if own.is_none() && self.guided.is_none() {
            return Err(Error::Labels {
                expected: None,
                found: Some(TensorType::u32(&[labels.len().max(1)])),
            });
        }
        let known = [self.classes, self.guided.map(|(_, classes)| classes)];
        for classes in known.into_iter().flatten() {
            if let Some(&found) = labels.iter().find(|label| **label >= classes) {
                return Err(Error::Class { found, classes });
            }
        }
        if let Some((value, _)) = self.guided {
            self.executor.write_u32(value, labels)?;
        }
        let Some(value) = own else { return Ok(()) };
        let nothing = self.guidance.map(|guidance| vec![guidance.null_label; labels.len()]);
        let all: Vec<u32> = nothing.into_iter().flatten().chain(labels.iter().copied()).collect();
        self.executor.write_u32(value, &all)
    }

    /// Sets the context of the next batches, `[batch, tokens, channels]`; with guidance that of
    /// nothing comes first, `[2 batch, tokens, channels]` in all.
    ///
    /// # Errors
    /// If the network takes none, or another number of elements.
    pub fn set_context(&mut self, context: &[f32]) -> Result<(), Error> {
        let found = Some(TensorType::f32(&[context.len().max(1)]));
        let none = Error::Context { expected: None, found };
        let value = self.condition.context.ok_or(none)?;
        self.executor.write(value, context)
    }

    /// Sets the vectors of the next batches, `[batch, width]`; with guidance those of nothing come first.
    ///
    /// # Errors
    /// If the network takes none, or another number of elements.
    pub fn set_vectors(&mut self, vectors: &[f32]) -> Result<(), Error> {
        let found = Some(TensorType::f32(&[vectors.len().max(1)]));
        let none = Error::Vector { expected: None, found };
        self.executor.write(self.condition.vector.ok_or(none)?, vectors)
    }

    /// Replaces the numbers of the model's adapters. Nothing else is written, so that the same numbers give the same
    /// images as before, whatever was set in between.
    ///
    /// # Errors
    /// If the model has other adapters, or the device is lost.
    pub fn set_adapters(&mut self, weights: &dyn ParameterSource) -> Result<(), Error> {
        let own = |name: &str| {
            let mut specs = self.model.adapters.iter().flat_map(|of| &of.arenas.specs);
            specs.any(|spec| spec.name == name)
        };
        if let Some(name) = weights.names().into_iter().find(|name| !own(name)) {
            return Err(Error::Adapter { name: name.into() });
        }
        let Some(adapters) = &self.model.adapters else { return Ok(()) };
        for (arena, pieces) in adapters.pieces(weights)? {
            self.executor.write_pieces(arena, pieces)?;
        }
        Ok(())
    }

    /// Replaces the model's weights, and those of its adapters, without a new plan.
    ///
    /// # Errors
    /// If a parameter is missing or has another shape, or the device is lost.
    pub fn set_weights(&mut self, weights: &dyn ParameterSource) -> Result<(), Error> {
        for (arena, pieces) in self.model.pieces(weights)? {
            self.executor.write_pieces(arena, pieces)?;
        }
        Ok(())
    }
}
