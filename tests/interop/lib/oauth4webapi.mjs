// Re-exports the pinned OAuth library for scripts outside this folder.
export * from "oauth4webapi";
