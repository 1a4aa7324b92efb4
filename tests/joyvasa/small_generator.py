"""Sizes of a small motion generator for tests: windows of 20 frames, six diffusion steps."""

SMALL = {
    "motion_feat_dim": 3 * 21 + 7,
    "n_motions": 20,
    "n_prev_motions": 4,
    "feature_dim": 32,
    "n_diff_steps": 6,
    "decoder_layers": 2,
    "decoder_heads": 4,
    "decoder_hidden": 48,
    "audio_encoder": {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "conv_dim": [8] * 7,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 4,
    },
}
