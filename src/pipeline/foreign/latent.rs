//! The tensors of Stable Diffusion's U-Net and autoencoder, by their names in its files (`openaimodel.py`,
//! `attention.py`, `model.py`).

/// Names and extents, in order.
pub(super) type Tensors = Vec<(String, Vec<usize>)>;

/// Numbers that the U-Net's tensors follow from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LatentUnet {
    pub inputs: usize,
    pub outputs: usize,
    /// Sines and cosines of the time embedding, and outputs of the first convolution.
    pub channels: usize,
    /// Channels of each level, finest first.
    pub widths: Vec<usize>,
    /// Which levels have attention, finest first.
    pub attention: Vec<bool>,
    pub layers: usize,
    /// Channels of the text's tokens.
    pub context: usize,
    /// Blocks of the transformers of each level, finest first; the middle has as many as the last.
    pub depths: Vec<usize>,
    /// Channels of the vector beside the tokens: SDXL's.
    pub vector: Option<usize>,
    /// Are a transformer's projections linear layers, and not convolutions?
    pub linear: bool,
}

/// Numbers that the autoencoder's tensors follow from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LatentVae {
    pub inputs: usize,
    pub outputs: usize,
    pub latent: usize,
    pub embedded: usize,
    /// Channels of each level, finest first.
    pub widths: Vec<usize>,
    pub layers: usize,
}

/// A list of tensors that grows.
struct List(Tensors);

impl List {
    fn push(&mut self, name: String, shape: &[usize]) {
        self.0.push((name, shape.into()));
    }

    /// A weight of this shape, and a bias.
    fn affine(&mut self, name: &str, shape: &[usize]) {
        self.push(format!("{name}.weight"), shape);
        self.push(format!("{name}.bias"), &shape[..1]);
    }

    fn norm(&mut self, name: &str, channels: usize) {
        self.affine(name, &[channels]);
    }

    fn conv(&mut self, name: &str, inputs: usize, outputs: usize, side: usize) {
        self.affine(name, &[outputs, inputs, side, side]);
    }

    fn residual(&mut self, at: &str, inputs: usize, outputs: usize, embedding: usize) {
        self.norm(&format!("{at}.in_layers.0"), inputs);
        self.conv(&format!("{at}.in_layers.2"), inputs, outputs, 3);
        self.affine(&format!("{at}.emb_layers.1"), &[outputs, embedding]);
        self.norm(&format!("{at}.out_layers.0"), outputs);
        self.conv(&format!("{at}.out_layers.3"), outputs, outputs, 3);
        if inputs != outputs {
            self.conv(&format!("{at}.skip_connection"), inputs, outputs, 1);
        }
    }

    fn transformer(&mut self, at: &str, level: usize, of: &LatentUnet) {
        let (width, depth) = (of.widths[level], of.depths[level]);
        let square = if of.linear { vec![width, width] } else { vec![width, width, 1, 1] };
        self.norm(&format!("{at}.norm"), width);
        self.affine(&format!("{at}.proj_in"), &square);
        for block in 0..depth {
            let block = format!("{at}.transformer_blocks.{block}");
            for (name, context) in [("attn1", width), ("attn2", of.context)] {
                let attention = format!("{block}.{name}");
                self.push(format!("{attention}.to_q.weight"), &[width, width]);
                self.push(format!("{attention}.to_k.weight"), &[width, context]);
                self.push(format!("{attention}.to_v.weight"), &[width, context]);
                self.affine(&format!("{attention}.to_out.0"), &[width, width]);
            }
            self.affine(&format!("{block}.ff.net.0.proj"), &[8 * width, width]);
            self.affine(&format!("{block}.ff.net.2"), &[width, 4 * width]);
            for norm in ["norm1", "norm2", "norm3"] {
                self.norm(&format!("{block}.{norm}"), width);
            }
        }
        self.affine(&format!("{at}.proj_out"), &square);
    }

    /// A residual block of the autoencoder.
    fn block(&mut self, at: &str, inputs: usize, outputs: usize) {
        self.norm(&format!("{at}.norm1"), inputs);
        self.conv(&format!("{at}.conv1"), inputs, outputs, 3);
        self.norm(&format!("{at}.norm2"), outputs);
        self.conv(&format!("{at}.conv2"), outputs, outputs, 3);
        if inputs != outputs {
            self.conv(&format!("{at}.nin_shortcut"), inputs, outputs, 1);
        }
    }

    /// The middle of the autoencoder's halves.
    fn middle(&mut self, at: &str, width: usize) {
        self.block(&format!("{at}.mid.block_1"), width, width);
        self.norm(&format!("{at}.mid.attn_1.norm"), width);
        for projection in ["q", "k", "v", "proj_out"] {
            self.conv(&format!("{at}.mid.attn_1.{projection}"), width, width, 1);
        }
        self.block(&format!("{at}.mid.block_2"), width, width);
    }
}

impl LatentUnet {
    /// All tensors.
    pub fn tensors(&self) -> Tensors {
        let (mut list, embedding) = (List(Vec::new()), 4 * self.channels);
        list.affine("time_embed.0", &[embedding, self.channels]);
        list.affine("time_embed.2", &[embedding, embedding]);
        if let Some(vector) = self.vector {
            list.affine("label_emb.0.0", &[embedding, vector]);
            list.affine("label_emb.0.2", &[embedding, embedding]);
        }
        list.conv("input_blocks.0.0", self.inputs, self.channels, 3);
        let (mut width, mut skips, mut block) = (self.channels, vec![self.channels], 1);
        for (level, &outputs) in self.widths.iter().enumerate() {
            for _ in 0..self.layers {
                list.residual(&format!("input_blocks.{block}.0"), width, outputs, embedding);
                if self.attention[level] {
                    list.transformer(&format!("input_blocks.{block}.1"), level, self);
                }
                (width, block) = (outputs, block + 1);
                skips.push(width);
            }
            if level + 1 < self.widths.len() {
                list.conv(&format!("input_blocks.{block}.0.op"), width, width, 3);
                skips.push(width);
                block += 1;
            }
        }
        list.residual("middle_block.0", width, width, embedding);
        if let Some(last) = self.widths.len().checked_sub(1) {
            list.transformer("middle_block.1", last, self);
        }
        list.residual("middle_block.2", width, width, embedding);
        block = 0;
        for (level, &outputs) in self.widths.iter().enumerate().rev() {
            for layer in 0..=self.layers {
                let at = format!("output_blocks.{block}");
                let skip = skips.pop().unwrap_or(0);
                list.residual(&format!("{at}.0"), width + skip, outputs, embedding);
                width = outputs;
                if self.attention[level] {
                    list.transformer(&format!("{at}.1"), level, self);
                }
                if layer == self.layers && level > 0 {
                    let place = if self.attention[level] { 2 } else { 1 };
                    list.conv(&format!("{at}.{place}.conv"), width, width, 3);
                }
                block += 1;
            }
        }
        list.norm("out.0", width);
        list.conv("out.2", width, self.outputs, 3);
        list.0
    }
}

impl LatentVae {
    /// All tensors.
    pub fn tensors(&self) -> Tensors {
        let mut list = List(Vec::new());
        let (Some(&finest), Some(&deepest)) = (self.widths.first(), self.widths.last()) else {
            return list.0;
        };
        list.conv("encoder.conv_in", self.inputs, finest, 3);
        let mut width = finest;
        for (level, &outputs) in self.widths.iter().enumerate() {
            for layer in 0..self.layers {
                list.block(&format!("encoder.down.{level}.block.{layer}"), width, outputs);
                width = outputs;
            }
            if level + 1 < self.widths.len() {
                list.conv(&format!("encoder.down.{level}.downsample.conv"), width, width, 3);
            }
        }
        list.middle("encoder", deepest);
        list.norm("encoder.norm_out", deepest);
        list.conv("encoder.conv_out", deepest, 2 * self.latent, 3);
        list.conv("quant_conv", 2 * self.latent, 2 * self.embedded, 1);
        list.conv("post_quant_conv", self.embedded, self.latent, 1);
        list.conv("decoder.conv_in", self.latent, deepest, 3);
        list.middle("decoder", deepest);
        width = deepest;
        for (level, &outputs) in self.widths.iter().enumerate().rev() {
            for layer in 0..=self.layers {
                list.block(&format!("decoder.up.{level}.block.{layer}"), width, outputs);
                width = outputs;
            }
            if level > 0 {
                list.conv(&format!("decoder.up.{level}.upsample.conv"), width, width, 3);
            }
        }
        list.norm("decoder.norm_out", finest);
        list.conv("decoder.conv_out", finest, self.outputs, 3);
        list.0
    }
}
