//! Numbers of the images of a step that is computed in micro-batches.
use crate::{ops::prelude::*, shaders::collect as shader};

/// Keeps a number of each image where it lies: `kept[first + i] = x[i]`, the key naming the first image;
/// operands `kept f32[count]`, `x f32[batch]`, `key u32[8]`. Images past `count` are left out.
///
/// ```
/// use ddim::{ops::{Collect, Counter, Operator}, reference::Tensor, value::Shape};
///
/// let tensor = |data: &[f64]| Tensor::new(Shape::new(&[data.len()]), data.to_vec());
/// let counter = Counter { first_image: 2, ..Counter::default() };
/// let key = tensor(&counter.words().map(f64::from));
/// let kept = Collect.reference(&[&tensor(&[0.0; 5]), &tensor(&[7.0, 8.0]), &key]);
/// assert_eq!(kept[0].data, [0.0, 0.0, 7.0, 8.0, 0.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Collect;

display!("collect", Collect);

impl Operator for Collect {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [kept, x, key] = check.operands()?;
        check.is("kept", kept, TensorType::f32(&[kept.shape[0]]))?;
        check.is("x", x, TensorType::f32(&[x.shape[0]]))?;
        check.key(key)?;
        Ok(vec![kept])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let first = Counter::read(inputs[2]).first_image as usize;
        let mut kept = inputs[0].clone();
        kept.data.iter_mut().skip(first).zip(&inputs[1].data).for_each(|(kept, x)| *kept = *x);
        vec![kept]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [_, x, key] = fitted(&equation.inputs);
        let kept = equation.outputs[0];
        let [batch, count] = [x, kept].map(|value| lowering.type_of(value).shape[0]);
        let params = shader::Params { batch: batch as u32, count: count as u32 };
        Ok(lowering.push(shader::Forward { x, key, kept }.over(params, batch))?)
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0)]
    }
}

fn case(count: usize, batch: usize, key: Input) -> Case {
    let [kept, x] = [count, batch].map(|extent| Input::normal(TensorType::f32(&[extent])));
    Case::new(Collect, vec![kept, x, key])
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    // The key begins at image 2.
    let past = Counter { first_image: u32::MAX - 3, ..Counter::default() }.input();
    vec![
        case(130, 67, example_key()),
        case(5, 3, example_key()),
        case(5, 4, example_key()).name("the last one past the end"),
        case(7, 6, past).name("all past the end"),
    ]
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let (count, batch) = (dice.extent(300), dice.extent(130));
    let first_image = dice.below(count) as u32;
    let key = Counter { seed: 1, first_image, ..Counter::default() }.input();
    case(count, batch, key)
}
