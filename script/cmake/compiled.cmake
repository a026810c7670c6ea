# The target fanfare::compiled: fanfare::server, with the server's bodies in a static library instead of in each unit that
# includes its header. The library is part of the build that uses it, and made only there: so it has that build's flags, and
# nothing compiled has to be installed. The build of fanfare and the installed package both include this file.
if(TARGET fanfare::server AND NOT TARGET fanfare::compiled)
  add_library(fanfare_compiled STATIC EXCLUDE_FROM_ALL "${CMAKE_CURRENT_LIST_DIR}/compiled.cpp")
  add_library(fanfare::compiled ALIAS fanfare_compiled)
  target_link_libraries(fanfare_compiled PUBLIC fanfare::server)
  target_compile_definitions(fanfare_compiled PUBLIC FANFARE_SEPARATE_COMPILATION)
endif()
