export {
  type BootOptions,
  type BootReport,
  bootImage,
  type Profile,
  type VmMemory,
} from './boot/boot-image.ts';
export { guestInUse } from './boot/memory-table.ts';
export type { BootStage } from './boot-protocol.ts';
export { bootFailedWord, bootLinePrefix, bootStages, rootDiskSerial } from './boot-protocol.ts';
export { type BuildOptions, type BuildResult, buildImage, buildOwnKernel } from './build.ts';
export { cacheFolder } from './cache/cache.ts';
export { type CacheEntry, listCache } from './cache/list.ts';
export { type PruneOptions, type PruneResult, pruneCache } from './cache/prune.ts';
export type { Contents, ContentsEntry } from './contents.ts';
export { ImageError, type ImageErrorCode } from './errors.ts';
export type { KernelChoice } from './kernel/choose.ts';
export { type Image, type LoadOptions, loadImage } from './load.ts';
export type { Problem } from './look/check-file.ts';
export { type Difference, diffImages, type ImageDiff } from './look/diff.ts';
export { type BigFile, type Inspection, inspectImage, type OriginSize } from './look/inspect.ts';
export { type LookOptions, listImage, readImageFile, readSbom } from './look/look.ts';
export { type Verification, type VerifyOptions, verifyImage } from './look/verify.ts';
export type { Manifest } from './manifest.ts';
export { type PinChange, type RefreshOptions, refreshLock } from './pins/refresh-lock.ts';
export { type Progress, silentProgress, stderrProgress } from './progress.ts';
export { type Recipe, readRecipe } from './recipe/recipe.ts';
export type { TreePath } from './root/tree.ts';
