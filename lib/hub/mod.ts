/**
 * Files from a model hub, in the cache that Hugging Face's tools share.
 *
 * @module
 */
export {};
