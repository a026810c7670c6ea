// What a small program compiles of fanfare, apart from its own files.
#include <fanfare/src.hpp>
