//! Random tensors from a key.
use crate::{
    ops::{kit::random::Images, prelude::*},
    shaders::draw as shader,
};

/// Standard normals of type `of`, whose outermost axis counts images; operand `key: u32[8]`.
///
/// ```
/// use ddim::{ops::{Counter, DrawNormal, Operator}, reference::Tensor, value::TensorType};
///
/// let draw = DrawNormal { of: TensorType::f32(&[2, 3]), stream: 1 };
/// let drawn = |seed| {
///     let words = Counter { seed, ..Counter::default() }.words();
///     draw.reference(&[&Tensor::new(Counter::of().shape, words.map(f64::from).into())])
/// };
/// assert_eq!(drawn(1), drawn(1));
/// assert_ne!(drawn(1), drawn(2));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DrawNormal {
    /// Type of the result.
    pub of: TensorType,
    /// Which of the model's random streams.
    pub stream: u32,
}

/// Timesteps `f32[batch]`, uniform among the integers `0..count`; operand `key: u32[8]`.
///
/// With `antithetic`, as in the released code of the DDIM paper, `images / 2 + 1` are drawn for the images
/// of a step and the others mirror the first of these: `count - 1 - t`.
///
/// ```
/// use ddim::{ops::{Counter, DrawTimesteps, Operator}, reference::Tensor};
///
/// let op = DrawTimesteps { batch: 4, images: 4, count: 1000, antithetic: true, stream: 1 };
/// let drawn = &op.reference(&[&Tensor::zeros(Counter::of().shape)])[0];
/// assert!(drawn.data.iter().all(|t| (0.0..1000.0).contains(t)));
/// // The last image mirrors the first.
/// assert_eq!(drawn.data[3], 999.0 - drawn.data[0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DrawTimesteps {
    /// How many to draw.
    pub batch: usize,
    /// Images of the step: of these the batch is a part, which begins at the key's first image.
    pub images: usize,
    /// How many there are to choose from.
    pub count: u32,
    /// Whether about half of them mirror the others.
    pub antithetic: bool,
    /// Which of the model's random streams.
    pub stream: u32,
}

impl DrawTimesteps {
    /// How many of the step's images have a timestep of their own; those behind them mirror the first ones.
    fn drawn(&self) -> u32 {
        if self.antithetic { self.images as u32 / 2 + 1 } else { u32::MAX }
    }
}

display!("draw_normal", DrawNormal { stream });

display!("draw_timesteps", DrawTimesteps { images, count, antithetic, stream });

impl Operator for DrawNormal {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [key] = check.operands()?;
        check.key(key)?;
        check.images("y", self.of)?;
        Ok(vec![self.of])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![Counter::read(inputs[0]).normals(self.of.shape, self.stream)]
    }

    fn vjp(&self, _: &mut Backward, _: &Equation) -> Result<Gradients, Error> {
        Ok(vec![None])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let overrides = shader::Overrides::default();
        let Images { batch, vectors, channels, channels4, grid } =
            Images::new(self.of, overrides.workgroup);
        let params = shader::Params {
            batch,
            vectors,
            channels,
            channels4,
            stream: self.stream,
            ..Default::default()
        };
        let kernel = shader::Normal { key: equation.inputs[0], y: equation.outputs[0] };
        Ok(lowering.push(kernel.dispatch(params, overrides, grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(60, inputs, &[self.of])
    }
}

impl Operator for DrawTimesteps {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [key] = check.operands()?;
        check.key(key)?;
        check.that(self.count > 0, "count", "at least 1", 0)?;
        Ok(vec![TensorType::f32(&[self.batch])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let counter = Counter::read(inputs[0]);
        let whole = Counter { first_image: 0, ..counter };
        let draw = |image| {
            let [word, ..] = whole.random_words(0, image, self.stream);
            f64::from(((u64::from(word) * u64::from(self.count)) >> 32) as u32)
        };
        let timestep = |place: usize| {
            let image = counter.first_image.wrapping_add(place as u32);
            match image.checked_sub(self.drawn()) {
                None => draw(image),
                Some(mirrored) => f64::from(self.count - 1) - draw(mirrored),
            }
        };
        let shape = TensorType::f32(&[self.batch]).shape;
        vec![Tensor::new(shape, (0..self.batch).map(timestep).collect())]
    }

    fn vjp(&self, _: &mut Backward, _: &Equation) -> Result<Gradients, Error> {
        Ok(vec![None])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let params = shader::Params {
            batch: self.batch as u32,
            stream: self.stream,
            count: self.count,
            drawn: self.drawn(),
            ..Default::default()
        };
        let kernel = shader::Timesteps { key: equation.inputs[0], drawn: equation.outputs[0] };
        Ok(lowering.push(kernel.over(params, self.batch))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(60, inputs, &[TensorType::f32(&[self.batch])])
    }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let part = |batch, images, antithetic| {
        let op = DrawTimesteps { batch, images, count: 1000, antithetic, stream: 1 };
        Case::new(op, vec![example_key()])
    };
    let timesteps = |batch, antithetic| part(batch, batch, antithetic);
    let normal = |of| Case::new(DrawNormal { of, stream: 4 }, vec![example_key()]);
    vec![
        normal(TensorType::f32(&[2, 7, 5, 3])),
        normal(TensorType::f32(&[3, 16, 16, 8])),
        normal(TensorType::f16(&[2, 7, 5, 5])),
        normal(TensorType::f32(&[MANY_IMAGES, 1])),
        timesteps(1, false),
        timesteps(67, false),
        timesteps(1, true),
        timesteps(2, true),
        timesteps(67, true),
        timesteps(MANY_IMAGES, true),
        part(5, 10, true).name("part of a step"),
        part(67, 1000, true).name("part of a step, none mirrored"),
    ]
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let key = dice.key();
    if dice.flip() {
        let of = dice.image().with_element(dice.element());
        return Case::new(DrawNormal { of, stream: dice.below(9) as u32 }, vec![key]);
    }
    let (batch, count, antithetic) = (dice.extent(300), dice.extent(1 << 16) as u32, dice.flip());
    let images = dice.extent(1 << 20);
    Case::new(DrawTimesteps { batch, images, count, antithetic, stream: 1 }, vec![key])
}
