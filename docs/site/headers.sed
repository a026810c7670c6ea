# What Doxygen 1.9 would read wrongly in the headers; no line moves.

# A section of its own, as the commands are.
s,^( *///  *)Thread safety: ,\1\\threadsafety ,

# A parameter that is not used has its name in a comment.
s,/\*([a-z_]+)\*/,\1,g

# Behind a raw string with a quote in it comments are not found.
s,R"\([^)]*\)","",g

# A friend that is defined elsewhere is documented there.
s,^ +friend [A-Za-z]+ [a-z_]+\([^()]*\)( noexcept)?;$,,
