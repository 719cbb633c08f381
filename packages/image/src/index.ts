export type { BootStage } from './boot-protocol.ts';
export { bootFailedWord, bootLinePrefix, bootStages, rootDiskSerial } from './boot-protocol.ts';
export { type BuildOptions, type BuildResult, buildImage } from './build.ts';
export { cacheFolder } from './cache.ts';
export { ImageError, type ImageErrorCode } from './errors.ts';
export { type Image, type LoadOptions, loadImage } from './load.ts';
export type { Manifest } from './manifest.ts';
export { type Progress, silentProgress, stderrProgress } from './progress.ts';
export { type Recipe, readRecipe } from './recipe.ts';
