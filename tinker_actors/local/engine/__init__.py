"""The engine of the embedded server: a decoder-only transformer in numpy with exact LoRA gradients and sampling.

It knows neither HTTP nor futures nor the wire's types: arrays in, arrays out.
"""
