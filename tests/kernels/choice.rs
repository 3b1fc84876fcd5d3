//! The table that decides between kernel families.
use ddim::{
    bench_cases::families,
    graph::Graph,
    ops::{
        self, Conv2d, Conv2dInputGradient, Conv2dWeightGradient, Linear, LinearInputGradient, Op,
    },
    passes,
    plan::{Arithmetic, CooperativeMatrices, DeviceProfile, Family, OpClass, Plan, TABLE, Target},
    value::{ElementType, TensorType},
};
use std::collections::BTreeSet;

fn software() -> Target {
    Target {
        subgroup: Some(8),
        cooperative_matrices: Some(CooperativeMatrices { edge: 8, subgroup: 8 }),
        profile: DeviceProfile::SOFTWARE,
        f16: true,
        int64: true,
        ..Target::default()
    }
}

/// A GPU whose caller allows operands to be rounded to f16.
fn matrix_units() -> Target {
    let cooperative_matrices = Some(CooperativeMatrices { edge: 16, subgroup: 32 });
    Target { cooperative_matrices, f16: true, ..Target::default() }
}

fn plan(op: impl Into<Op>, operands: [&[usize]; 2], target: &Target) -> Plan {
    stored(op, operands.map(TensorType::f32), target)
}

fn stored(op: impl Into<Op>, operands: [TensorType; 2], target: &Target) -> Plan {
    let mut graph = Graph::new();
    let inputs = operands.map(|of| graph.input(of));
    graph.outputs = graph.push_all(op, &inputs).expect("operands of the op");
    passes::compile(&graph, target).expect("it fits")
}

#[test]
fn every_family_of_the_table_is_offered_and_every_offer_is_in_it() {
    let gpu = Target { subgroup: Some(8), ..matrix_units() };
    for target in [software(), gpu] {
        let mut offered = BTreeSet::new();
        for case in ops::cases() {
            let graph = case.graph().expect("the op takes its own cases");
            for family in families(&graph, &target) {
                let plan = family.plan.expect("it fits");
                offered.extend(plan.choices.clone().into_keys().map(|(_, family)| family));
            }
        }
        let rules = TABLE.iter().filter(|rule| rule.on == target.profile.kind);
        let named: BTreeSet<Family> = rules.flat_map(|rule| rule.families).copied().collect();
        assert_eq!(named, offered, "{}", target.profile.kind);
    }
}

#[test]
fn the_first_line_that_applies_decides() {
    let conv = Conv2d { stride: 1, padding: [1; 4] };
    let gradient = Conv2dWeightGradient { stride: 1, padding: [1; 4], kernel: [3; 2], bias: false };
    let large = [&[1, 16, 16, 32][..], &[3, 3, 32, 32]];
    let small = [&[1, 8, 8, 32][..], &[3, 3, 32, 32]];
    let chosen = |plan: Plan| plan.choices.clone().into_keys().collect::<Vec<_>>();
    assert_eq!(chosen(plan(conv, large, &software())), [(OpClass::Convolution, Family::Winograd)]);
    assert_eq!(chosen(plan(conv, small, &software())), [(OpClass::Convolution, Family::Subgroup)]);
    let deep = [&[1, 8, 8, 128][..], &[3, 3, 128, 128]];
    assert_eq!(
        chosen(plan(conv, deep, &software())),
        [(OpClass::Convolution, Family::WinogradNarrow)]
    );
    let few = [&[1, 16, 16, 8][..], &[3, 3, 8, 8]];
    assert_eq!(chosen(plan(conv, few, &software())), [(OpClass::Convolution, Family::Window)]);
    let last = [&[1, 16, 16, 128][..], &[3, 3, 128, 3]];
    assert_eq!(chosen(plan(conv, last, &software())), [(OpClass::Convolution, Family::Window)]);
    let first = [&[1, 16, 16, 3][..], &[3, 3, 3, 128]];
    assert_eq!(chosen(plan(conv, first, &software())), [(OpClass::Convolution, Family::Subgroup)]);
    assert_eq!(
        chosen(plan(conv, large, &Target::default())),
        [(OpClass::Convolution, Family::Tiled)]
    );
    let product = [&[64, 32][..], &[32, 32]];
    assert_eq!(chosen(plan(Linear, product, &software())), [(OpClass::Product, Family::Wide)]);
    // Four pairs are the least.
    let narrow = [&[64, 12][..], &[12, 32]];
    assert_eq!(chosen(plan(Linear, narrow, &software())), [(OpClass::Product, Family::Subgroup)]);
    let dy = [&[1, 16, 16, 32][..], &[1, 16, 16, 32]];
    assert_eq!(
        chosen(plan(gradient, dy, &software())),
        [(OpClass::WeightGradient, Family::Winograd)]
    );
}

#[test]
fn products_are_in_f16_where_the_caller_allows_it_and_both_operands_are_stored_so() {
    let (f32, f16, bf16) = (ElementType::F32, ElementType::F16, ElementType::Bf16);
    let arithmetic = Arithmetic::Mixed;
    let allowed = Target { f16: true, arithmetic, ..Target::default() };
    let (stride, padding) = (1, [1; 4]);
    let (height, width, residual) = (8, 8, false);
    let image = TensorType::f32(&[1, 8, 8, 32]);
    let taps = TensorType::f32(&[3, 3, 32, 32]);
    let [rows, matrix] = [TensorType::f32(&[64, 32]), TensorType::f32(&[32, 32])];
    let products: [(Op, [TensorType; 2]); 4] = [
        (Conv2d { stride, padding }.into(), [image, taps]),
        (Conv2dInputGradient { stride, padding, height, width, residual }.into(), [image, taps]),
        (Linear.into(), [rows, matrix]),
        (LinearInputGradient::default().into(), [rows, matrix]),
    ];
    for (op, [x, weight]) in products {
        let of = |target: &Target, elements: [ElementType; 2]| {
            let operands = [x.with_element(elements[0]), weight.with_element(elements[1])];
            stored(op.clone(), operands, target)
        };
        assert_eq!(of(&allowed, [f16; 2]).arithmetic(), Arithmetic::Mixed, "{op}");
        for elements in [[f32; 2], [bf16; 2], [f32, f16], [f16, f32], [f16, bf16]] {
            let found = of(&allowed, elements).arithmetic();
            assert_eq!(found, Arithmetic::F32, "{op}: {elements:?}");
        }
        let without = Target { f16: false, ..allowed.clone() };
        let own = Target { arithmetic: Arithmetic::F32, ..allowed.clone() };
        for target in [&without, &own] {
            assert_eq!(of(target, [f16; 2]).arithmetic(), Arithmetic::F32, "{op}: {target:?}");
        }
        // What is not stored in f16 has the same plan, whatever is allowed.
        assert_eq!(of(&allowed, [f32; 2]).hash(), of(&own, [f32; 2]).hash(), "{op}");
    }
    let gradient = Conv2dWeightGradient { stride, padding, kernel: [3; 2], bias: false };
    let plan = stored(gradient, [image.with_element(f16); 2], &allowed);
    assert_eq!(plan.arithmetic(), Arithmetic::F32, "gradients of weights");
}

#[test]
fn cooperative_matrices_are_for_many_rows() {
    let chosen = |rows: usize, target: &Target| {
        let product = [&[rows, 64][..], &[64, 64]];
        plan(Linear, product, target).choices.clone().into_keys().collect::<Vec<_>>()
    };
    let family = |family| [(OpClass::Product, family)];
    assert_eq!(chosen(2048, &matrix_units()), family(Family::Cooperative));
    assert_eq!(chosen(2047, &matrix_units()), family(Family::Tiled));
    assert_eq!(chosen(2048, &Target { f16: true, ..Target::default() }), family(Family::Tiled));
    // As slow as everything that a software driver loads number by number.
    assert_eq!(chosen(2048, &software()), family(Family::Wide));
    let conv = Conv2d { stride: 1, padding: [1; 4] };
    let pixels = |side: usize| {
        let plan = plan(conv, [&[2, side, 32, 64], &[3, 3, 64, 32]], &matrix_units());
        plan.choices.clone().into_keys().collect::<Vec<_>>()
    };
    assert_eq!(pixels(32), [(OpClass::Convolution, Family::Cooperative)]);
    assert_eq!(pixels(31), [(OpClass::Convolution, Family::Tiled)]);
}

/// Gradients in f32 would vanish in f16.
#[test]
fn a_plan_that_trains_multiplies_by_matrices_what_is_stored_as_f16() {
    for (element, expected) in [(ElementType::F32, false), (ElementType::F16, true)] {
        let mut graph = Graph::new();
        let of = |shape| TensorType::f32(shape).with_element(element);
        let [x, weight, dy] =
            [of(&[4096, 64]), of(&[64, 64]), of(&[4096, 64])].map(|of| graph.input(of));
        let y = graph.push(Linear, &[x, weight]).expect("operands of the op");
        let gradients = passes::gradient(&mut graph, y, dy, &[x, weight]).expect("it has one");
        graph.outputs = [y].into_iter().chain(gradients.into_iter().flatten()).collect();
        let plan = passes::compile(&graph, &matrix_units()).expect("it fits");
        let found = plan.choices.keys().any(|(_, family)| *family == Family::Cooperative);
        assert_eq!(found, expected, "{element}");
    }
}
